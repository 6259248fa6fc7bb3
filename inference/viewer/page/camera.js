// This machine's camera drives the person. It is asked for when the user says so; its pictures go to the viewer on this
// machine, one at a time, and nowhere else.

const WANTED = { video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } }, audio: false };
const LONGEST = 640; // pixels of a picture's longer side
const QUALITY = 0.85; // of its JPEG
const $ = (id) => document.getElementById(id);

export class Camera {
  // handlers: begin(), pose({expression, pose, camera}), error({message})
  constructor(url, handlers) {
    Object.assign(this, { url, handlers, stream: null, socket: null, arrivals: [] });
    this.canvas = document.createElement("canvas");
    this.video = $("camera");
  }

  toggle() {
    return this.stream || this.asking ? this.stop() : this.start();
  }

  async start() {
    if (!navigator.mediaDevices) {
      this.handlers.error({ message: "Browsers give the camera to pages of this machine only: open the viewer at 127.0.0.1" });
      return;
    }
    this.asking = true;
    this.show("Drive: waiting for the camera");
    try {
      const stream = await navigator.mediaDevices.getUserMedia(WANTED);
      if (!this.asking) { // stopped meanwhile
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      this.stream = stream;
      for (const track of stream.getTracks()) track.onended = () => this.stop(); // unplugged, or taken away
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      this.stop();
      this.handlers.error({ message: `The camera cannot be used: ${error.message || error.name}` });
      return;
    }
    this.connect();
  }

  connect() {
    this.handlers.begin();
    $("mirror").hidden = false;
    $("seen").textContent = "Loading the tracker …";
    this.show("Stop the camera");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onmessage = ({ data }) => this.answered(JSON.parse(data));
    socket.onclose = () => {
      if (this.socket === socket) this.stop();
    };
  }

  answered(data) {
    if (!this.stream) return;
    if (data.type === "error") {
      this.stop();
      this.handlers.error(data);
      return;
    }
    if (data.type === "pose") {
      this.handlers.pose(data);
      const now = performance.now();
      this.arrivals = [...this.arrivals.filter((time) => now - time < 1000), now];
      $("seen").textContent = `${this.arrivals.length} fps · ${Math.round(data.milliseconds)} ms`;
    }
    if (data.type === "nobody") $("seen").textContent = "No face in sight";
    this.send();
  }

  // What the camera sees now.
  send() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    [this.canvas.width, this.canvas.height] = [Math.round(scale * width), Math.round(scale * height)];
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.canvas.toBlob((blob) => {
      if (blob && this.socket?.readyState === WebSocket.OPEN) this.socket.send(blob);
    }, "image/jpeg", QUALITY);
  }

  stop() {
    this.asking = false;
    for (const track of this.stream?.getTracks() ?? []) track.stop(); // its light goes out
    this.stream = null;
    const { socket } = this;
    this.socket = null;
    socket?.close();
    this.video.srcObject = null;
    this.arrivals = [];
    $("mirror").hidden = true;
    this.show("Drive with the camera");
  }

  show(label) {
    $("drive").textContent = label;
    $("drive").classList.toggle("on", Boolean(this.stream || this.asking));
    Object.assign($("drive").dataset, { on: Boolean(this.stream) });
  }
}
