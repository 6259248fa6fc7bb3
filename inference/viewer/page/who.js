// Who is seen: the seed and the truncation.

import { complain } from "./notes.js";
import { fill } from "./sliders.js";

const MAX_SEED = 2 ** 32 - 1;
const RANDOM_SEEDS = 10000; // short enough to be remembered
const $ = (id) => document.getElementById(id);

export class Who {
  // `onChange()` is called when the user wants somebody else.
  constructor(onChange) {
    Object.assign(this, { onChange, person: { seed: 0, psi: 0.7 } });
    $("seed").onchange = () => this.change({ seed: Number($("seed").value || NaN) });
    $("seed-less").onclick = () => this.change({ seed: Math.max(this.person.seed - 1, 0) });
    $("seed-more").onclick = () => this.change({ seed: Math.min(this.person.seed + 1, MAX_SEED) });
    $("random").onclick = (event) => {
      event.preventDefault(); // does not fold
      this.somebodyElse();
    };
    $("psi").oninput = () => this.showPsi(Number($("psi").value));
    $("psi").onchange = () => this.change({ psi: Number($("psi").value) }); // when let go: every value is a person
  }

  somebodyElse() {
    this.change({ seed: Math.floor(Math.random() * RANDOM_SEEDS) });
  }

  is({ seed, psi }) {
    return seed === this.person.seed && psi === this.person.psi;
  }

  // Nobody else is asked for where there is but one (`alone`).
  change({ seed = this.person.seed, psi = this.person.psi }) {
    if (this.alone) return;
    if (Number.isInteger(seed) && seed >= 0 && seed <= MAX_SEED) {
      this.set({ seed, psi });
      this.onChange();
    } else {
      complain({ message: `Seed: expected a whole number from 0 to ${MAX_SEED}` });
      this.set(this.person);
    }
  }

  set(person) {
    this.person = { ...person };
    $("seed").value = person.seed;
    $("psi").value = person.psi;
    this.showPsi(person.psi);
  }

  showPsi(psi) {
    $("psi-number").textContent = psi.toFixed(2);
    fill($("psi"), 0, psi);
  }
}
