// What bench/progress.py does, for workers in Node: a file with how many handlers ended, and when the first and the last did.
import { renameSync, writeFileSync } from "node:fs";

const path = process.env.BENCH_PROGRESS;
let count = 0;
let firstAt = 0;
let lastAt = 0;

export function note(jobs = 1) {
  lastAt = Date.now() / 1000;
  if (count === 0) firstAt = lastAt;
  count += jobs;
}

if (path) {
  setInterval(() => {
    writeFileSync(`${path}.new`, `${count} ${firstAt} ${lastAt}`);
    renameSync(`${path}.new`, path);
  }, 20).unref();
}
