"""The workers of a cluster, as the client sees them."""

from __future__ import annotations

import threading

from distributed import Client, LocalCluster

from testbed.run.workers import Workers


def test_no_worker_is_missing_while_the_client_refreshes_what_it_keeps() -> None:
    """distributed's client asks for the cluster's totals every two seconds, without workers."""
    ended = threading.Event()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        workers = Workers(client, cluster.scheduler_address, bytes, print)

        def refresh() -> None:
            while not ended.is_set():
                client.sync(client._update_scheduler_info, n_workers=0)

        refreshing = threading.Thread(target=refresh)
        refreshing.start()
        try:
            seen = [len(workers.known()) for _ in range(300)]
        finally:
            ended.set()
            refreshing.join()
    assert seen == [2] * 300
