"""Scheduled jobs.

timetable  when jobs run, and the loop                    cron    cron expressions across clock changes: pure
status     the lock and status file of a job              health  `/healthz` and the metrics of jobs
targets    the sources that jobs write, each by one job   watching  changes in folders that make a run come sooner
"""
