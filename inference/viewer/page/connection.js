// The websocket: sends the latest shot, gets frames; comes back by itself when it is lost.

const IN_FLIGHT = 2; // the next shot is there when a frame is done
const LONGEST_WAIT = 3000; // ms between attempts to connect

export class Connection {
  // handlers: hello(data), making(data), error(data), frame(head, blob), link(isUp)
  constructor(url, handlers) {
    Object.assign(this, { url, handlers, wait: 250, sent: 0, answered: 0, wanted: null });
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.wait = 250;
      this.answered = this.sent;
      this.handlers.link(true);
    };
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.text(JSON.parse(data)) : this.picture(data));
    this.socket.onclose = () => {
      this.handlers.link(false);
      setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
    };
  }

  // Asks for a picture. While others are on their way, only the latest wish is kept, unless it is `urgent`.
  want(shot, urgent = false) {
    this.wanted = shot;
    this.flush(urgent);
  }

  flush(urgent = false) {
    const full = this.sent - this.answered >= IN_FLIGHT && !urgent;
    if (!this.wanted || full || this.socket.readyState !== WebSocket.OPEN) return;
    this.sent += 1;
    this.socket.send(JSON.stringify({ id: this.sent, ...this.wanted }));
    this.wanted = null;
  }

  text(data) {
    this.handlers[data.type](data);
    if (data.type === "error") this.done(data.id);
  }

  picture(data) {
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    this.handlers.frame(head, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    this.done(head.id);
  }

  // An answer is one for all shots before it, too: the server draws only the latest.
  done(id) {
    this.answered = Math.max(this.answered, id ?? 0);
    this.flush();
  }
}

// A request that is not a frame; throws an Error with the server's one line.
export async function request(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("The viewer does not answer: is it still running?");
  }
  if (!response.ok) throw new Error([400, 503].includes(response.status) ? await response.text() : `${path}: ${response.statusText}`);
  return response;
}
