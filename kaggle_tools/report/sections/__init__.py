"""What a report says, a module for each of its sections: plain results in, a `Section` out.

Nothing here reads a workspace; `jobs/report.py` gathers what the sections show. A section whose data is not there says
in one sentence which command would make it.
"""
