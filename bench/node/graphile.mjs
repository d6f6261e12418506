// graphile-worker with its local queue: node graphile.mjs DSN install | work, until SIGTERM
import { run, runMigrations } from "graphile-worker";
import { note } from "./progress.mjs";

const [dsn, what] = process.argv.slice(2);
const options = {
  connectionString: dsn,
  preset: {
    worker: {
      connectionString: dsn,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
};
if (what === "install") {
  await runMigrations(options);
  process.exit(0);
}
const runner = await run({ ...options, taskList: { noop: () => note() } });
await runner.promise;
