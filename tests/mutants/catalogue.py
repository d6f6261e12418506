"""The guards of the product, each with a mutant that lacks it and the test of the suite that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.integration.api import test_live
from tests.integration.engine import (
    test_claim,
    test_deadlines,
    test_heartbeat,
    test_reaper,
    test_recover,
    test_retry,
    test_settle,
    test_time,
)
from tests.integration.engine.interleavings import test_orders, test_submits
from tests.mutants.checks import Check, any_order, engine_test, live_test, pair, worker_test
from tests.mutants.patch import Python, Sql
from tests.unit.worker import test_acker, test_heartbeater, test_running


@dataclass(frozen=True)
class Mutant:
    """One guard taken out. guard: what is missing then; letter: its name in the plan of the fault tests, where it has one."""

    name: str
    guard: str
    patch: Sql | Python
    check: Check
    letter: str = ""

    @property
    def is_quick(self) -> bool:
        """Whether the suite runs it: the guards every queue of this kind must have, where their check takes no more than a moment."""
        return bool(self.letter) and not self.check.is_slow


def tally(function: str, old: str, new: str, meeting: str) -> Mutant:
    """A transition that forgets to count."""
    guard = f"`{function}` counts what it moves in the same statement"
    return Mutant(f"{function.removesuffix('_v1').replace('_', '-')}-uncounted", guard, Sql(function, ((old, new),)), pair(meeting))


TOKEN_OF_SETTLE = " AND ((l.job_id, l.token) IN (SELECT u.id, u.tok FROM unnest(p_ids, p_tokens) u(id, tok))) IS TRUE"
OWN_CLOCK = "__import__('datetime').datetime.fromtimestamp(self._clock.boottime(), __import__('datetime').UTC)"
ONE_LOOK = ("FOR round IN 1 .. 5 LOOP", "FOR round IN 1 .. 1 LOOP")
NOT_FOUND = "RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the job moved in every look';"
FIND_LATER = "results |= await self.find_existing(jobs, left)"

MUTANTS: Final = (
    # ------------------------------------------------------------------------------------------------ the fence
    Mutant(
        "settle-without-token",
        "a settle is the current token's alone",
        Sql("settle_v1", ((TOKEN_OF_SETTLE, ""), (" AND t.tok = f.token)", ")"))),
        engine_test(test_settle.test_zombie_s_settle_is_lost_after_recovery_and_after_the_next_claim),
        "M1",
    ),
    Mutant(
        "heartbeat-without-token",
        "a heartbeat is the current token's alone",
        Sql("heartbeat_v1", (("ON l.job_id = t.id AND l.token = t.tok AND (", "ON l.job_id = t.id AND ("),)),
        engine_test(test_heartbeat.test_wrong_token_and_ended_job_are_lost),
        "M2",
    ),
    Mutant(
        "settle-ignores-its-replay",
        "the same settle again is told that it was done",
        Sql("settle_v1", (("CASE WHEN e.job_id IS NULL THEN 'lease_lost' ELSE 'replayed' END", "'lease_lost'"),)),
        engine_test(test_settle.test_same_settle_again_is_replayed_and_changes_nothing),
        "M18",
    ),
    Mutant(
        "replay-of-anybody",
        "a reaper's settle is nobody's replay",
        Sql("settle_v1", (("CASE WHEN NOT p_is_reaper THEN g.token END", "g.token"),)),
        engine_test(test_settle.test_nobody_takes_the_reaper_s_settle_for_his_own),
    ),
    Mutant(
        "cancel-beats-success",
        "a success with the current token wins over a cancel",
        Sql(
            "settle_v1",
            (
                (
                    "CASE WHEN f.cancel_requested_at IS NOT NULL AND t.following <> 'succeeded' THEN",
                    "CASE WHEN f.cancel_requested_at IS NOT NULL THEN",
                ),
            ),
        ),
        pair("running: cancel, then settle succeeded"),
    ),
    # ---------------------------------------------------------------------------------------------- the reaper
    Mutant(
        "two-step-reaper",
        "recovery locks what it takes as it looks",
        Sql("lost_v1", (("LIMIT p_limit\n  FOR UPDATE SKIP LOCKED;", "LIMIT p_limit;"),)),
        pair("running: heartbeat, then recover"),
        "M3",
    ),
    Mutant(
        "reaper-right-after-restart",
        "no lease is taken before its own length has passed since reaper and server came up",
        Sql(
            "lost_v1",
            (
                ("AND l.lease_s <= v_up_s AND l.key_id IS NOT NULL", "AND l.key_id IS NOT NULL"),
                ("AND l.lease_s <= v_up_s AND (l.key_id", "AND (l.key_id"),
            ),
        ),
        engine_test(test_recover.test_nothing_is_taken_before_its_own_length_has_passed_since_the_reaper_came_up),
        "M16",
    ),
    Mutant(
        "reaper-right-after-reconnect",
        "a fault of the connection starts that time anew",
        Python(
            "jobqueue.reaper.lease_recoverer:LeaseRecoverer.tick",
            (("        self._resumed_at = self._clock.boottime()\n        self._offset_s = None\n", ""),),
        ),
        engine_test(test_reaper.test_recoverer_that_lost_its_connection_spares_every_lease_for_its_length),
        "M16",
    ),
    Mutant(
        "reaper-by-its-own-clock",
        "only the database's clock ends a lease",
        Python(
            "jobqueue.reaper.lease_recoverer:LeaseRecoverer.tick",
            (
                (
                    "resumed_for_s=resumed_for_s, wake",
                    f"resumed_for_s=resumed_for_s, now={OWN_CLOCK}, wake",
                ),
            ),
        ),
        engine_test(test_reaper.test_lease_is_over_by_the_database_s_clock_and_nobody_else_s),
        "M17",
    ),
    Mutant(
        "leader-keeps-believing",
        "any error ends a leader's belief",
        Python("jobqueue.reaper.leader:Leader.tick", (("before, self._term = self._term, None", "before = self._term"),)),
        engine_test(test_reaper.test_leader_that_cannot_ask_leads_no_more),
        "M12",
    ),
    Mutant(
        "crash-not-counted",
        "an attempt counts from its claim, so a run that never reports its end is counted",
        Python(
            "jobqueue.domain.outcome:_after_lost",
            (
                (
                    "return Next(Status.QUEUED, standing.attempt, crashes)",
                    "return Next(Status.QUEUED, standing.attempt - 1, standing.crashes)",
                ),
            ),
        ),
        engine_test(test_recover.test_crashes_are_used_up),
        "M4",
    ),
    Mutant(
        "unstarted-loss-charged",
        "a lease lost before its start is refunded",
        Python(
            "jobqueue.domain.outcome:_after_lost",
            (
                (
                    "Next(Status.QUEUED, standing.attempt - 1, max(standing.crashes, 1))",
                    "Next(Status.QUEUED, standing.attempt, standing.crashes + 1)",
                ),
            ),
        ),
        engine_test(test_recover.test_loss_before_the_start_is_refunded_and_the_next_run_isolated),
    ),
    # ------------------------------------------------------------------------------------------- claims, limits
    Mutant(
        "limit-without-gate",
        "a tenant's claims are counted under its gate",
        Sql("claim_v1", (("ORDER BY t.tenant_id\n    FOR NO KEY UPDATE SKIP LOCKED)", "ORDER BY t.tenant_id)"),)),
        pair("queued: claim, then claim"),
        "M5",
    ),
    Mutant(
        "limit-not-counted",
        "what a tenant runs is taken off its limit",
        Sql("claim_v1", (("least(f.take, greatest(0, u.cap - n.running))", "least(f.take, u.cap)"),)),
        engine_test(test_claim.test_tenant_cap_is_exact_over_claimers),
    ),
    Mutant(
        "queue-limit-not-counted",
        "what a queue runs is taken off its limit",
        Sql(
            "claim_v1",
            (("SELECT q.cap - count(*)::int AS free", "SELECT q.cap AS free"),),
        ),
        engine_test(test_claim.test_queue_cap_is_exact_and_leaves_other_queues_alone),
    ),
    Mutant(
        "key-limit-not-counted",
        "what a concurrency key runs is taken off its limit",
        Sql("claim_v1", (("greatest(0, u.cap - (SELECT count(*)::int FROM jobqueue.lease l WHERE l.key_id = u.key_id))", "u.cap"),)),
        engine_test(test_claim.test_lowered_key_cap_does_not_block_what_waits_behind_it),
    ),
    Mutant(
        "late-start",
        "a job not started in time never starts, swept or not",
        Sql("claim_v1", (("\n        AND (r.start_by IS NULL OR r.start_by > clock_timestamp())", ""),)),
        engine_test(test_claim.test_expired_job_is_never_claimed_before_it_is_swept),
    ),
    Mutant(
        "pause-ignored",
        "a paused queue's jobs stay",
        Sql("claim_v1", ((" AND s.is_paused IS NOT TRUE", ""),)),
        engine_test(test_claim.test_paused_queue_keeps_its_jobs_and_other_tenants_of_its_name_go_on),
    ),
    Mutant(
        "settle-of-a-key-without-its-lock",
        "whoever lets parked jobs in holds the key",
        Sql(
            "settle_v1",
            (("PERFORM FROM jobqueue.concurrency_key k WHERE k.key_id = ANY (p_key_ids) ORDER BY k.key_id FOR NO KEY UPDATE;", "NULL;"),),
        ),
        pair("keyed: unpark, then settle succeeded"),
    ),
    Mutant(
        "key-not-passed-on",
        "a settle lets the next job of its key in",
        Sql("settle_v1", (("jobqueue.unpark_v1(p_key_ids) u;", "jobqueue.unpark_v1('{}') u;"),)),
        engine_test(test_claim.test_overflow_is_parked_reads_as_throttled_and_is_let_in_at_settle),
    ),
    # ------------------------------------------------------------------------------------------------- submits
    Mutant(
        "single-snapshot-idempotency",
        "the job behind a key is looked up in a newer snapshot than the insert's",
        Python(
            "jobqueue.operations.intake:Intake.store_together",
            (
                (
                    "    for _ in range(KEY_TRIES_MAX):",
                    "    seen = await self.find_existing(jobs, left)\n    for _ in range(KEY_TRIES_MAX):",
                ),
                (FIND_LATER, "results |= seen"),
            ),
        ),
        engine_test(test_submits.test_submit_then_twin_waits_and_is_the_same_job),
        "M6",
    ),
    Mutant(
        "unordered-submit",
        "idempotency keys are locked in order",
        Sql("submit_v1", ((" ORDER BY a.tid, a.key_hash\n", "\n"),)),
        engine_test(test_orders.test_submits_in_opposite_orders_do_not_deadlock),
    ),
    # ---------------------------------------------------------------------------------------- looks, locks, order
    Mutant(
        "cancel-looks-once",
        "a cancel that waited looks for the job in its new place, or is made again",
        Sql("cancel_v1", (ONE_LOOK, (NOT_FOUND, "verdict := 'unknown';"))),
        pair("running: settle failed, then cancel"),
    ),
    Mutant(
        "cancel-of-a-settled-job",
        "a cancel that comes after the end is told so",
        Sql(
            "cancel_v1",
            (
                (
                    "WHEN status IN ('succeeded', 'dlq', 'expired') THEN 'finished'",
                    "WHEN status IN ('succeeded', 'dlq', 'expired') THEN 'unchanged'",
                ),
            ),
        ),
        pair("running: settle succeeded, then cancel"),
    ),
    Mutant(
        "patch-looks-once",
        "a PATCH that waited looks for the job in its new place, or is made again",
        Sql("patch_v1", (ONE_LOOK, (NOT_FOUND, "verdict := 'unknown'; RETURN;"))),
        pair("scheduled: promote, then patch priority"),
    ),
    Mutant(
        "retry-without-the-job-s-lock",
        "a retry and a PATCH of one job come after one another",
        Sql("retry_v1", (("AND j.job_id = p_job_id\n  FOR NO KEY UPDATE;", "AND j.job_id = p_job_id;"),)),
        pair("queued: patch priority, then retry"),
    ),
    Mutant(
        "expire-waits",
        "periodic work leaves alone what somebody moves",
        Sql(
            "expire_v1",
            (
                (
                    "FROM jobqueue.ready y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED",
                    "FROM jobqueue.ready y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE",
                ),
            ),
        ),
        pair("queued: claim, then expire"),
    ),
    Mutant(
        "heartbeat-waits",
        "a heartbeat never waits for a transition of one of its leases",
        Sql("heartbeat_v1", (("FOR UPDATE OF l SKIP LOCKED", "FOR UPDATE OF l"),)),
        pair("running: cancel, then heartbeat"),
    ),
    # -------------------------------------------------------------------------------------------------- counts
    tally(
        "claim_v1",
        "SELECT q.tid, q.qid, 'queued', -sum(q.n), 0 FROM per_lane q",
        "SELECT q.tid, q.qid, 'queued', -sum(q.n), 0 FROM per_lane q WHERE false",
        "queued: claim, then cancel",
    ),
    tally("promote_v1", "'scheduled' END, -1), ('queued', 1))", "'scheduled' END, -1))", "scheduled: promote, then claim"),
    tally("cancel_v1", "(VALUES (g.was, -1), ('cancelled', 1))", "(VALUES (g.was, -1))", "queued: cancel, then claim"),
    tally("retry_v1", "(VALUES (g.was, -1), ('queued', 1))", "(VALUES (g.was, -1))", "dlq: retry, then claim"),
    tally("patch_v1", "IF v_following <> v_moved.was THEN", "IF false THEN", "queued: patch to later, then claim"),
    # -------------------------------------------------------------------------------------------------- history
    Mutant(
        "retry-keeps-crashes",
        "a retry with a reset begins anew",
        Sql("retry_v1", (("CASE WHEN p_is_reset THEN 0 ELSE least(g.crashes, 1) END", "least(g.crashes, 1)"),)),
        engine_test(test_retry.test_job_that_crashed_is_isolated_again_unless_reset),
    ),
    Mutant(
        "snooze-charged",
        "a snooze gives its attempt back",
        Python(
            "jobqueue.domain.outcome:decide",
            (("Next(Status.SCHEDULED, attempt - 1, crashes,", "Next(Status.SCHEDULED, attempt, crashes,"),),
        ),
        engine_test(test_time.test_snoozed_job_comes_back_with_its_attempt),
    ),
    Mutant(
        "failure-without-its-burial",
        "the last failure tells of the dead letter queue too",
        Sql("settle_v1", (("WHEN g.following IN ('queued', 'dlq') OR", "WHEN g.following IN ('queued') OR"),)),
        engine_test(test_settle.test_last_failure_writes_failed_then_dlq),
    ),
    # --------------------------------------------------------------------------------------------------- worker
    Mutant(
        "shutdown-finalises",
        "a shutdown gives jobs back, it does not end them",
        Python("jobqueue.worker.verdict:judge", (("return outcomes.released()", "return outcomes.cancelled()"),)),
        worker_test(test_running.test_handler_that_outlasts_the_grace_is_given_back_with_its_attempt, way="abort"),
        "M13",
    ),
    Mutant(
        "heartbeat-on-the-handlers-loop",
        "leases are renewed from a thread of their own",
        Python(
            "jobqueue.worker.heartbeater:Heartbeater.run",
            (
                (
                    "    thread.start()\n",
                    "    serving = asyncio.ensure_future(self._serve())\n    serving.add_done_callback(lambda _: _finish(ended))\n",
                ),
            ),
        ),
        worker_test(test_heartbeater.test_handler_that_blocks_the_loop_is_told_of_and_its_neighbours_lease_is_kept, is_slow=True),
        "M11",
    ),
    Mutant(
        "trust-from-the-answer",
        "a lease is trusted from before the beat was sent",
        Python(
            "jobqueue.worker.heartbeater:Heartbeater._beat",
            (("run.renewed(sent_at=sent_at)", "run.renewed(sent_at=self._clock.boottime())"),),
        ),
        worker_test(test_heartbeater.test_trust_counts_from_before_the_beat_was_sent),
    ),
    Mutant(
        "settle-sent-once",
        "a settle without an answer is sent again with the same tokens",
        Python("jobqueue.worker.acker:Acker._settle", (("            failures += 1\n", "            return\n"),)),
        worker_test(test_acker.test_batch_without_an_answer_is_sent_again_and_replayed),
    ),
    Mutant(
        "lost-run-reports",
        "a run whose lease is lost reports nothing",
        Python("jobqueue.worker.executor:Executor._report", (("if run.stop_reason is StopReason.LOST:", "if False:"),)),
        worker_test(test_running.test_lost_lease_cancels_the_handler_and_drops_its_outcome),
    ),
    # ---------------------------------------------------------------------------------------------------- pool
    Mutant(
        "deadline-without-terminate",
        "a call past its deadline ends its connection",
        Python("jobqueue.store.pool:_deadline", (("connection.terminate()", "pass"),)),
        engine_test(test_deadlines.test_call_on_a_frozen_link_ends_at_its_deadline_and_the_pool_is_whole_after),
        "M20",
    ),
    # --------------------------------------------------------------------------------------------------- live
    Mutant(
        "cursor-without-a-mark",
        "the feed waits for transactions that drew their numbers earlier",
        Python("jobqueue.domain.feed:SafeMark.look", (("self._points[0].writers.isdisjoint(writers)", "True"),)),
        live_test(test_live.test_transaction_that_commits_late_is_waited_for_and_its_smaller_number_told_first),
        "M7",
    ),
    Mutant(
        "stream-without-catch-up",
        "a stream that comes back is told what it has missed",
        Python(
            "jobqueue.api.live.joining:Joiner.join",
            (("await self._catch_up(stream, asked.after, row_last)", "stream.release(told=asked.after)"),),
        ),
        live_test(test_live.test_stream_goes_on_behind_its_cursor_wherever_it_broke_off),
        "M8",
    ),
    Mutant(
        "stream-without-its-tenant",
        "a stream is told of its own tenant's jobs",
        Python(
            "jobqueue.api.live.hub:Hub.deliver",
            (
                (
                    "for stream in tenant.listeners(event):",
                    "for stream in [each for every in self._tenants.values() for each in every.listeners(event)]:",
                ),
            ),
        ),
        live_test(test_live.test_no_byte_of_one_tenant_reaches_another),
        "M14",
    ),
    # --------------------------------------------------------------------------------------- the state machine
    Mutant(
        "expiry-lost-at-promotion",
        "a job that is promoted keeps the time by which it must start; the state machine finds it by itself",
        Sql("promote_v1", (("g.crashes, g.key_id, g.start_by\n", "g.crashes, g.key_id, NULL::timestamptz\n"),)),
        any_order(examples=40, steps=60, seed=1),
    ),
)
