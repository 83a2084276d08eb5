"""A Dask job on two workers in a real JupyterLab: one live block for all of them, and its Stop button."""

from __future__ import annotations

import pytest

pytest.importorskip("distributed")
pytestmark = pytest.mark.browser
FRAME = """
import dask.dataframe as dd
from distributed import Client, LocalCluster
practice = llm.rehearse('*: latency=0.2; openrouter[1]: 401').start()
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0')
client = Client(cluster)
df = pd.DataFrame({'q': [f'question {number}.' for number in range(600)]})
ddf = dd.from_pandas(df, npartitions=6)
warm = dd.from_pandas(df.head(4), npartitions=2).llm.run('gemma', 'q', progress=False)
"""
RUN = "out = ddf.llm.run('gemma', 'q', concurrency=8)"
COUNT = "print(len(practice.lines), llm.last.compute()['q_llm_status'].astype(str).value_counts().to_dict())"
END = "client.close(); cluster.close(); practice.stop()"


def test_one_block_shows_all_workers_and_its_stop_button_ends_the_job_and_no_worker(lab):
    with lab.notebook("dask", FRAME, RUN, COUNT, END) as notebook:
        notebook.run(1)
        notebook.begin(2)
        notebook.wait_for_text(2, " in flight")
        notebook.shoot("dask-running")
        notebook.output(2).get_by_role("button", name="Stop the job").click()
        notebook.wait_for_text(2, "JobInterrupted")
        notebook.wait_until_idle()
        notebook.shoot("dask-stopped")
        notebook.run(3)
        shown = notebook.text(3)
        assert "'cancelled'" in shown
        notebook.page.wait_for_timeout(600)
        notebook.run(3)
        assert notebook.text(3) == shown
        notebook.run(4)
