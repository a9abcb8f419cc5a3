# The repository's workflow, and a rule that writes Snakemake's records of all its jobs, as if they had been run: --touch
# writes none, and to run a thousand jobs for a benchmark takes too long. Copied into the root of a repository.

import asyncio
from concurrent.futures import ThreadPoolExecutor


include: "Snakefile"


async def record(jobs):
    for job in jobs:
        await workflow.persistence.finished(job)


rule recorded:
    input:
        rules.all.input,
    output:
        "recorded.txt",
    run:
        jobs = [job for job in workflow.dag.jobs if job.rule.name != "recorded"]
        with ThreadPoolExecutor(1) as another:  # this thread has an event loop at work
            another.submit(asyncio.run, record(jobs)).result()
        with open(output[0], "w") as file:
            file.write(f"{len(jobs)} jobs\n")
