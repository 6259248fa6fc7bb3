// Recordings of a face as ARKit's recorders write them: a CSV with a column for each facial action, a row a frame.
// What inference/arkit.py reads, by the same rules for times and for rows without a face.

const RATE = 60; // rows a second where the file has no times
const HEAD_ANGLES = ["headyaw", "headpitch", "headroll"];
const TIMES = ["timecode", "timestamp", "time"];
const DAY = 86400;
const RATES = [24, 25, 30, 50, 60, 120];

// -> {seconds [F], actions [F][names.length], head: [F][yaw, pitch, roll] or null}; an Error says what is wrong.
export function readRecording(text, name, names) {
  const [header, ...rows] = text.replace(/^\ufeff/, "").split(/\r?\n/).filter((line) => line.replaceAll(",", "").trim())
    .map((line) => line.split(",").map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
  if (!header || !rows.length) throw new Error(`${name}: expected a header and a row for every frame`);
  const places = Object.fromEntries(header.map((title, column) => [title.toLowerCase(), column]));
  const missing = names.filter((title) => !(title.toLowerCase() in places));
  if (missing.length) throw new Error(`${name}: expected ARKit's ${names.length} actions, found no ${missing.slice(0, 3).join(", ")}${missing.length > 3 ? " ..." : ""}`);
  const columns = names.map((title) => places[title.toLowerCase()]);
  const hasFace = (row) => !["0", "0.0"].includes(row[places.blendshapecount] ?? "") && columns.some((column) => row[column]);
  const known = rows.map((row, i) => (hasFace(row) ? i : -1)).filter((i) => i >= 0);
  if (!known.length) throw new Error(`${name}: expected frames with a face, found none`);
  const number = (row, column) => {
    const value = rows[row][column] ? Number(rows[row][column]) : NaN;
    if (!Number.isFinite(value)) throw new Error(`${name}: ${header[column]} in line ${row + 2}: expected a number, found '${rows[row][column] ?? ""}'`);
    return value;
  };
  const actions = known.map((row) => columns.map((column) => {
    const value = number(row, column);
    if (value < -1 || value > 2) throw new Error(`${name}: ${header[column]} in line ${row + 2}: expected 0..1, found ${value}`);
    return Math.min(Math.max(value, 0), 1);
  }));
  const turns = HEAD_ANGLES.map((title) => places[title]);
  const head = turns.includes(undefined) ? null : known.map((row) => turns.map((column) => number(row, column)));
  if (head?.flat().some((angle) => Math.abs(angle) > Math.PI + 1e-6)) throw new Error(`${name}: expected head angles in radians, found degrees`);
  const times = TIMES.map((title) => places[title]).find((column) => column !== undefined);
  const seconds = times === undefined ? rows.map((_, i) => i / RATE) : readTimes(rows.map((row) => row[times]), name);
  return { seconds: known.map((row) => seconds[row]), actions, head };
}

// Seconds from the first one on: of time codes HH:MM:SS:FF, clock times HH:MM:SS.ss or plain seconds.
function readTimes(texts, name) {
  const parts = texts.map((text, i) => {
    const found = text.split(/[:;]/).map(Number);
    if (!text || ![1, 3, 4].includes(found.length) || found.some((part) => !Number.isFinite(part))) {
      throw new Error(`${name}: time in line ${i + 2}: expected HH:MM:SS:FF or seconds, found '${text}'`);
    }
    return found;
  });
  const whole = ([hours, minutes, seconds]) => 3600 * hours + 60 * minutes + seconds;
  const frames = Math.max(...parts.map((part) => Math.floor(part[3] ?? 0)));
  const severalSeconds = new Set(parts.map(whole)).size > 2;
  const rate = RATES.find((each) => each > frames && (severalSeconds || each >= RATE)) ?? frames + 1;
  const values = parts.map((part) => (part.length === 1 ? part[0] : whole(part) + (part[3] ?? 0) / rate));
  let total = 0;
  return values.map((value, i) => {
    let step = i ? value - values[i - 1] : 0;
    if (parts[i].length > 1 && step < -DAY / 2) step += DAY; // over midnight
    if (step < 0) throw new Error(`${name}: expected times in order, found ${texts[i]} in line ${i + 2}`);
    return (total += step);
  });
}
