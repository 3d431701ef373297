"""What a search spends in all, over attempts, drivers, clusters and nodes that never join, against its limits.

The clock and the clouds are simulated; what is counted, recorded and decided is the real thing, on a real folder.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raysl.errors import ResultsError, SearchError
from raysl.launch.cluster import budget as module
from raysl.launch.cluster.budget import AHEAD, BOOT, RECORD_SECONDS, WIND_DOWN, LimitError, Limits
from raysl.launch.cluster.cluster_file import ClusterFile, NodeType, read_cluster_file
from raysl.launch.cluster.launches import MOST_FAILED, PricedNode
from raysl.results.records.spending import FOLDER, Charge, Spending, SpendingRecords
from raysl.results.storage.store import Store

FILE = read_cluster_file(Path(__file__).parents[3] / "cluster/aws.yaml")
HEAD, SPOT = FILE.head, FILE.workers[0]
STEP = 20.0  # seconds of a trial's step, after each of which the limits are looked at
STALE = 5.0  # seconds between two reports of the autoscaler
FAILS_AFTER = 600.0  # seconds after which a node that does not join is given up
MOST = 3.0  # USD
MORE = STEP * (HEAD.price + 8 * SPOT.price) / 3600  # what a step costs at most


class Clock:
    """Stands in for the clocks: hours pass here.  Both have their own beginning."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1.8e9


@dataclass
class Instance:
    """A node as its cloud sees it."""

    id: str
    type: NodeType
    launched: float
    boot: float
    joins: bool = True
    gone: float | None = None

    def bill(self, now: float) -> float:
        return (self.type.price or 0.0) * ((self.gone or now) - self.launched) / 3600


@dataclass
class Cloud:
    """A cluster whose autoscaler keeps some workers, in place of those that are lost or do not join."""

    name: str
    clock: Clock
    workers: int
    joins: bool = True
    boot: float = 180.0
    instances: list[Instance] = field(default_factory=list)
    reported: list[PricedNode] = field(default_factory=list)
    reported_at: float = -1e9
    queries: int = 0
    answers: bool = True

    def __post_init__(self) -> None:
        self._launch(HEAD, boot=0.0, joins=True)

    def bill(self) -> float:
        return sum(instance.bill(self.clock.now) for instance in self.instances)

    def tick(self) -> None:
        """Launch what is wanted, give up what has not joined."""
        for instance in self._there():
            if not instance.joins and self.clock.now - instance.launched >= FAILS_AFTER:
                instance.gone = self.clock.now
        for _ in range(self.workers + 1 - len(self._there())):
            self._launch(SPOT, self.boot, self.joins)

    def lose(self, instance: Instance) -> None:
        instance.gone = self.clock.now

    def end(self, after: float = 0.0) -> None:
        for instance in self._there():
            instance.gone = self.clock.now + after

    def nodes(self) -> list[PricedNode] | None:
        """Return the nodes as `ray_nodes.priced_nodes` does: those that joined at once, the pending ones later."""
        self.queries += 1
        if not self.answers:
            return None
        if self.clock.now - self.reported_at >= STALE:
            self.reported_at = self.clock.now
            self.reported = [
                PricedNode(f"pending {one.id}", one.type.price, one.type.name, pending="setting-up")
                for one in self._there()
                if not self._joined(one)
            ]
        joined = [one for one in self._there() if self._joined(one)]
        return [
            PricedNode(one.id, one.type.price, one.type.name, is_head=one.type is HEAD) for one in joined
        ] + self.reported

    def _there(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.gone is None]

    def _joined(self, instance: Instance) -> bool:
        return instance.joins and self.clock.now - instance.launched >= instance.boot

    def _launch(self, kind: NodeType, boot: float, joins: bool) -> None:
        self.instances.append(Instance(f"{self.name}-{len(self.instances)}", kind, self.clock.now, boot, joins))


@dataclass
class Searches:
    """Drivers on one results folder."""

    clock: Clock
    store: Store
    number: int = 0

    def driver(
        self, max_hours: float | None = None, max_cost: float | None = MOST, file: ClusterFile | None = None
    ) -> Limits:
        self.number += 1
        limits = Limits(max_hours, max_cost, file)
        limits.record_in(SpendingRecords(self.store, f"driver{self.number}"))
        return limits

    def steps(self, pairs: list[tuple[Limits, Cloud]], seconds: float = 1e6) -> Exception | None:
        """Let drivers train, each on its cluster, until one has to stop, or for some seconds; return why one stops."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += STEP
            for cloud in {id(cloud): cloud for _, cloud in pairs}.values():
                cloud.tick()
            for limits, cloud in pairs:
                try:
                    limits.check(cloud.nodes)
                except SearchError as error:
                    return error
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def searches(clock: Clock, tmp_path: Path) -> Searches:
    return Searches(clock, Store.open(str(tmp_path / "results"), create=True))


def test_attempts_on_new_clusters_have_one_limit(searches: Searches, clock: Clock) -> None:
    """KubeRay retries a lost head with a new cluster: no driver ends in order, and none knows of the others."""
    clouds: list[Cloud] = []
    stopped = None
    while stopped is None and len(clouds) < 30:
        clouds.append(Cloud(f"cluster{len(clouds)}", clock, workers=4))
        stopped = searches.steps([(searches.driver(), clouds[-1])], seconds=700)
        clouds[-1].end()
        clock.now += 120
    assert isinstance(stopped, LimitError)
    assert len(clouds) > 3
    assert 0.8 * MOST < sum(cloud.bill() for cloud in clouds) <= MOST + MORE
    late = Cloud("late", clock, workers=4)
    limits = searches.driver()
    with pytest.raises(
        LimitError, match=r"^--max-cost 3 is reached: 3\.\d+ USD so far, 3\.\d+ of it by other commands"
    ):
        limits.check()
    assert late.queries == 0, "the cluster is not needed to know that all is spent"
    searches.driver(max_cost=MOST + 1).check()  # a higher limit goes on


@pytest.mark.parametrize("dies", [False, True])
def test_hours_count_over_attempts_but_not_between_them(searches: Searches, clock: Clock, dies: bool) -> None:
    hours = 1.0
    for _ in range(3):
        limits = searches.driver(max_hours=hours, max_cost=None)
        assert searches.steps([(limits, Cloud("c", clock, 0))], seconds=900) is None
        if not dies:
            limits.close()
        clock.now += 7200
    began = clock.now
    stopped = searches.steps([(searches.driver(max_hours=hours, max_cost=None), Cloud("c", clock, 0))])
    before = 3 * AHEAD if dies else 0.0  # what dead drivers may have spent after their last record
    others = f"{(2700 + before) / 3600:.2f}"
    assert str(stopped) == f"--max-hours 1 is reached, {others} of them by other commands on this results folder"
    assert clock.now - began == pytest.approx(900 - before - WIND_DOWN, abs=STEP)


def test_drivers_that_search_together_count_an_hour_once(searches: Searches, clock: Clock) -> None:
    began = clock.now
    pairs = [(searches.driver(max_hours=1.0, max_cost=None), Cloud("c", clock, 0)) for _ in range(2)]
    assert isinstance(searches.steps(pairs), LimitError)
    assert clock.now - began == pytest.approx(3600 - WIND_DOWN, abs=STEP)


@pytest.mark.parametrize("most", [1.0, 100.0])
def test_nodes_that_never_join_are_paid_for_and_end_the_search(searches: Searches, clock: Clock, most: float) -> None:
    cloud = Cloud("c", clock, workers=8, joins=False)
    began = clock.now
    stopped = searches.steps([(searches.driver(max_cost=most), cloud)])
    assert cloud.bill() <= most + MORE
    if most == 1.0:
        assert isinstance(stopped, LimitError)
        assert cloud.bill() > 0.7 * most
    else:
        assert not isinstance(stopped, LimitError)
        assert str(stopped).startswith(
            f"{MOST_FAILED} times in a row, nodes were launched and went away without joining"
        )
        assert "the last one: gpu-spot, setting-up" in str(stopped)
        assert clock.now - began == pytest.approx(MOST_FAILED * FAILS_AFTER, abs=10 * STEP)


def test_nodes_that_never_join_end_a_search_on_a_cluster_that_grows_without_a_cost(
    searches: Searches, clock: Clock
) -> None:
    cloud = Cloud("c", clock, workers=1, joins=False)
    assert str(searches.steps([(searches.driver(max_cost=None, file=FILE), cloud)])).startswith(f"{MOST_FAILED} times")


def test_a_worker_that_lives_keeps_the_search_while_others_cannot_be_had(searches: Searches, clock: Clock) -> None:
    cloud = Cloud("c", clock, workers=1)
    limits = searches.driver(max_cost=1000.0)
    assert searches.steps([(limits, cloud)], seconds=600) is None
    cloud.workers, cloud.joins = 3, False
    assert searches.steps([(limits, cloud)], seconds=6 * FAILS_AFTER) is None
    assert limits.spent == pytest.approx(cloud.bill(), rel=0.15)


def test_a_booting_node_costs_what_it_costs(searches: Searches, clock: Clock) -> None:
    """Not `BOOT` on top of the time in which it was seen pending."""
    cloud = Cloud("c", clock, workers=0)
    limits = searches.driver(max_cost=1000.0)
    assert searches.steps([(limits, cloud)], seconds=600) is None
    cloud.workers, cloud.boot = 4, 900.0
    assert searches.steps([(limits, cloud)], seconds=1800) is None
    over = limits.spent - cloud.bill()
    assert 0 <= over < 4 * SPOT.price * BOOT / 3600 / 2


@pytest.mark.parametrize("shared", [True, False])
def test_two_drivers_have_one_limit(searches: Searches, clock: Clock, shared: bool) -> None:
    one = Cloud("one", clock, workers=4)
    two = one if shared else Cloud("two", clock, workers=4)
    pairs = [(searches.driver(), one), (searches.driver(), two)]
    first = searches.steps(pairs)
    second = searches.steps(pairs)
    assert isinstance(first, LimitError)
    assert isinstance(second, LimitError)
    bill = one.bill() + (0.0 if shared else two.bill())
    assert 0.9 * MOST < bill <= MOST + MORE


def test_workers_that_idle_after_a_lost_driver_count(searches: Searches, clock: Clock) -> None:
    cloud = Cloud("c", clock, workers=8)
    assert searches.steps([(searches.driver(file=FILE), cloud)], seconds=900) is None
    cloud.end(after=FILE.idle_seconds)
    clock.now += 3600
    later = searches.driver(file=FILE)
    later.check()
    assert later.spent >= cloud.bill()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_no_more_is_spent(searches: Searches, clock: Clock, seed: int) -> None:
    """Lost nodes, nodes that do not join, drivers that die or end, a second driver, a lost head: at random."""
    rng = random.Random(seed)
    clouds: list[Cloud] = []
    left: set[str] = set()
    stopped = None
    while not isinstance(stopped, LimitError) and len(clouds) < 100:
        clouds.append(Cloud(f"cluster{len(clouds)}", clock, rng.randint(1, 4), joins=rng.random() < 0.8))
        pairs = [(searches.driver(), clouds[-1]) for _ in range(rng.choice((1, 2)))]
        stopped = None
        for _ in range(rng.randint(1, 6)):
            stopped = stopped or searches.steps(pairs, seconds=rng.uniform(STEP, 600))
            clouds[-1].boot = rng.uniform(30, 590)
            clouds[-1].joins = rng.random() < 0.8
            for instance in rng.sample(clouds[-1].instances[1:], k=min(1, len(clouds[-1].instances) - 1)):
                if instance.gone is None:
                    clouds[-1].lose(instance)
        if rng.random() < 0.5:
            for limits, _ in pairs:
                limits.close()
        clouds[-1].end(after=rng.uniform(0, 30))
        clock.now += rng.uniform(30, 600)
        left |= set(searches.store.list(FOLDER, ".json"))
    assert sum(cloud.bill() for cloud in clouds) <= MOST + MORE
    assert len(left) == searches.number


def test_a_damaged_record_is_refused(searches: Searches, clock: Clock) -> None:
    assert searches.steps([(searches.driver(), Cloud("c", clock, 1))], seconds=100) is None
    searches.store.write(f"{FOLDER}/driver1.json", b"{}")
    with pytest.raises(ResultsError, match=r"spending/driver1.json: is damaged, so it is not known what was spent"):
        searches.driver().check()
    searches.store.delete(f"{FOLDER}/driver1.json")
    searches.driver().check()


def test_a_search_without_limits_records_nothing(searches: Searches, clock: Clock) -> None:
    assert searches.steps([(searches.driver(max_cost=None), Cloud("c", clock, 1))], seconds=100) is None
    assert searches.store.list(FOLDER, ".json") == []


def test_records_are_written_now_and_then(searches: Searches, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    monkeypatch.setattr(SpendingRecords, "write", lambda *_: written.append(clock.now))
    limits, cloud = searches.driver(), Cloud("c", clock, 0)
    for _ in range(600):
        clock.now += 0.1
        limits.check(cloud.nodes)
    assert len(written) == pytest.approx(60 / RECORD_SECONDS, abs=1)


def test_nodes_are_charged_while_ray_does_not_answer(searches: Searches, clock: Clock) -> None:
    cloud = Cloud("c", clock, workers=4)
    limits = searches.driver(max_cost=1000.0)
    assert searches.steps([(limits, cloud)], seconds=900) is None
    cloud.answers = False
    assert searches.steps([(limits, cloud)], seconds=1800) is None
    cloud.answers = True
    limits.check(cloud.nodes)
    assert limits.spent == pytest.approx(cloud.bill(), rel=0.15)
    assert limits.spent >= cloud.bill()
    limits = searches.driver()
    limits.check(cloud.nodes)
    cloud.answers = False
    assert isinstance(searches.steps([(limits, cloud)], seconds=20000), LimitError)


def test_a_driver_does_not_read_its_own_record(searches: Searches) -> None:
    own, other = (SpendingRecords(searches.store, name) for name in ("own", "other"))
    spending = Spending(1.0, 2.0, (Charge("node", 0.5, 1.0, 2.0),))
    own.write(spending)
    assert own.others() == []
    assert other.others() == [spending]
