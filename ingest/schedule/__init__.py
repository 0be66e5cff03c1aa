"""Jobs that run by themselves.

timetable  when jobs run, and the loop                    cron    cron expressions and the clock changes: pure
status     a job's lock and status file                   health  what `/healthz` says
"""
