// pg-boss driven bare: fetch and complete in batches, two loops: node pgboss.mjs DSN install | work, until SIGTERM
import PgBoss from "pg-boss";
import { note } from "./progress.mjs";

const BATCH = 500;
const [dsn, what] = process.argv.slice(2);
const boss = new PgBoss({ connectionString: dsn, max: 5 });
boss.on("error", (error) => console.error(error));
await boss.start();
if (what === "install") {
  await boss.createQueue("noop");
  await boss.stop({ graceful: false });
  process.exit(0);
}
process.on("SIGTERM", () => process.exit(0));

async function loop() {
  for (;;) {
    const jobs = await boss.fetch("noop", { batchSize: BATCH });
    if (jobs.length === 0) {
      await new Promise((resume) => setTimeout(resume, 10));
    } else {
      await boss.complete("noop", jobs.map((job) => job.id));
      note(jobs.length);
    }
  }
}
await Promise.all([loop(), loop()]);
