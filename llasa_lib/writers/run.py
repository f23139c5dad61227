"""Many windows, one prompt each, several at a time: what is finished stays finished."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from tqdm.auto import tqdm

from llasa_lib import signals
from llasa_lib.errors import WriterError
from llasa_lib.files import fingerprint
from llasa_lib.writers import checking, prompts
from llasa_lib.writers.journal import KEY, Journal
from llasa_lib.writers.spending import Estimate, Purse

COSTS = ("requests", "prompt_tokens", "answer_tokens")
HOPELESS = 20  # so many unusable answers and not one usable: this model cannot do it


@dataclass(frozen=True)
class Written:
    """What a writer made of some windows.

    Attributes
    ----------
    lines : list of dict or None
        One per window, as in the journal: ``output`` (a text, a list of question-answer pairs, or None if nothing
        could be used), ``draft``, ``false``, ``claims`` and what it cost; None for a window that is not written yet.
    requests, retries : int
        Sent in this run, and sent again after a fault.
    stopped : str or None
        Why the run ended before the last window.
    """

    lines: list
    requests: int
    retries: int
    stopped: str | None = None

    @property
    def outputs(self):
        """The text, or the pairs, of every window; None where there is none."""
        return [line and line["output"] for line in self.lines]

    @property
    def counts(self):
        """Windows written, clean, repaired, unusable and missing; sentences dropped; claims; tokens."""
        lines = [line for line in self.lines if line]
        usable = [line for line in lines if line["output"] is not None]
        claims = sum((Counter(line["claims"]) for line in usable), Counter())
        return {
            "windows": len(self.lines),
            "written": len(usable),
            "repaired": sum(line["repaired"] for line in usable),
            "unusable": len(lines) - len(usable),
            "missing": len(self.lines) - len(lines),
            "kept": sum(line["kept"] for line in usable),
            "dropped": sum(line["dropped"] for line in lines),
            "supported": claims["supported"],
            "contradicted": claims["contradicted"],
            "not checkable": claims["not checkable"],
            "prompt tokens": sum(line["prompt_tokens"] for line in lines),
            "answer tokens": sum(line["answer_tokens"] for line in lines),
        }

    def __str__(self):
        c = self.counts
        text = (
            f"{c['written']} of {c['windows']} windows written, {c['repaired']} of them repaired, "
            f"{c['unusable']} unusable; {c['dropped']} false sentences or pairs dropped, {c['kept']} kept\n"
            f"claims kept: {c['supported']} supported, {c['contradicted']} contradicted, "
            f"{c['not checkable']} not checkable\n"
            f"{self.requests} requests now, {self.retries} sent again; "
            f"{c['prompt tokens']} tokens read and {c['answer tokens']} written in all"
        )
        problems = Counter(line["problem"] for line in self.lines if line and line["problem"])
        more = [f"unusable: {problem} ({count} times)" for problem, count in problems.most_common()]
        return "\n".join([text, *more, *([f"stopped: {self.stopped}"] if self.stopped else [])])


def estimate(windows, kind="caption", price=None, labels=False, folder=None):
    """What :func:`write` may cost, without asking anybody.

    Parameters
    ----------
    windows, kind, labels, folder
        As for :func:`write`.
    price : Price, optional

    Returns
    -------
    Estimate
    """
    tasks = prompts.plan(windows, kind, labels, folder)
    read, written = sum(prompts.tokens(task.prompt) for task in tasks), len(tasks) * prompts.LONGEST[kind]
    return Estimate(len(tasks), read, written, price and price.of(read, written))


def write(windows, journal, server, kind="caption", budget=None, labels=False, folder=None, concurrency=8):
    """Let a language model write about windows, and keep what the samples do not contradict.

    Parameters
    ----------
    windows : datasets.Dataset
        With ``imu`` (120 x 6, SI units) and, if ``labels``, ``activity``.
    journal : path
        JSONL; finished windows are in it at once, and are not paid for again.
    server : Server
    kind : {"caption", "narration", "questions"}
    budget : Budget, optional
    labels : bool
        Tell the writer the activity.
    folder : path, optional
        Prompts to use instead of the library's.
    concurrency : int
        Requests under way at the same time.

    Returns
    -------
    Written

    Raises
    ------
    RecordingError
        If a window cannot be measured; nothing is sent.
    WriterError
        If the server, the key or the model cannot be used, or no answer can.
    ArtifactError
        If the journal is no journal.
    """
    tasks = prompts.plan(windows, kind, labels, folder)
    imu = signals.to_array(windows) if tasks else []
    with Journal(journal) as book:
        return _Run(book, server, kind, prompts.load("repair", folder), budget).all(tasks, imu, concurrency)


class _OverBudget(WriterError):
    """The next request could cost more than is left."""


class _Run:
    """One call of :func:`write`: threads that take windows from one queue and write lines to one journal."""

    def __init__(self, book, server, kind, repair, budget):
        self.book, self.server, self.kind, self.repair = book, server, kind, repair
        costs = Counter()
        for line in book.done.values():
            costs.update({name: line[name] for name in COSTS})
        self.purse = Purse(budget, costs["prompt_tokens"], costs["answer_tokens"])
        self.halt, self.lock = threading.Event(), threading.Lock()
        self.usable = self.unusable = self.requests = 0
        self.stopped = None

    def all(self, tasks, imu, concurrency):
        """Write about every window that the journal does not hold yet."""
        keys = [self._key(task) for task in tasks]
        todo = {key: task for key, task in zip(keys, tasks, strict=True) if key not in self.book.done}
        queue, retries = SimpleQueue(), self.server.retries
        for item in todo.items():
            queue.put(item)
        with ThreadPoolExecutor(concurrency) as pool, tqdm(total=len(todo), desc=self.kind, disable=None) as bar:
            threads = [pool.submit(self._work, queue, imu, bar) for _ in range(min(concurrency, len(todo)))]
            try:
                for thread in as_completed(threads):
                    thread.result()
            finally:  # also when interrupted: what is under way is finished, as it is paid for, and nothing begun
                self.halt.set()
        lines = [self.book.done.get(key) for key in keys]
        return Written(lines, self.requests, self.server.retries - retries, self.stopped)

    def _key(self, task):
        return task.window, fingerprint(self.kind, task.prompt), self.server.model

    def _work(self, queue, imu, bar):
        while not self.halt.is_set():
            try:
                key, task = queue.get_nowait()
            except Empty:
                return
            try:
                line = self._write(task.prompt, imu[task.row])
            except _OverBudget as reason:
                self.stopped = str(reason)
                return
            self.book.append(dict(zip(KEY, key, strict=True)) | {"kind": self.kind} | line)
            bar.update()
            self._judge(line)

    def _judge(self, line):
        """Stop paying a model that cannot do it."""
        with self.lock:
            self.requests += line["requests"]
            self.usable += line["output"] is not None
            self.unusable += line["output"] is None
            if not self.usable and self.unusable >= HOPELESS:
                raise WriterError(
                    f"none of {self.unusable} answers of {self.server.model} can be used; the last one: "
                    f"{line['problem']}. Take a larger model, or change the prompts."
                )

    def _write(self, prompt, window):
        """One window: draft, check, repair, check again, drop."""
        line = {name: 0 for name in COSTS} | {"output": None, "problem": None, "kept": 0, "dropped": 0}
        line |= {"repaired": False, "draft": None, "false": [], "claims": {}}
        chat = [{"role": "user", "content": prompt}]
        try:
            units = self._draft(chat, line)
        except prompts.UnusableAnswer as error:
            return line | {"problem": str(error)}
        false = checking.contradicted(units, window)
        line["false"] = [_as_dict(claim) for _, claim in false]
        kept = checking.drop_contradicted(units, window)
        line["dropped"] = len(units) - len(kept)
        if false:
            better = self._repair([*chat, {"role": "assistant", "content": line["draft"]}], units, false, line)
            clean = checking.drop_contradicted(better, window)
            if checking.count(clean, window)["supported"] >= max(1, checking.count(kept, window)["supported"]):
                kept = clean
                line |= {"repaired": True, "dropped": len(better) - len(clean)}
        claims = checking.count(kept, window)
        if not claims["supported"]:  # also of a text that claims nothing: it could stand under any window
            return line | {"problem": "the samples support nothing that it says"}
        output = kept if self.kind == "questions" else " ".join(kept)
        return line | {"output": output, "kept": len(kept), "claims": claims}

    def _repair(self, chat, units, false, line):
        """The text written again without the false claims, in units; none if it cannot be had."""
        told = prompts.fill(self.repair, false=checking.list_false(false, units))
        try:
            return prompts.parse(*self._ask([*chat, {"role": "user", "content": told}], line))
        except WriterError:  # then the false sentences are dropped; a server that is gone shows with the next window
            return []

    def _draft(self, chat, line):
        """The units of a first text. Asked once more if nothing in it can be kept: a sampled answer differs."""
        answer = self._ask(chat, line)
        line["draft"] = answer[0]
        try:
            return prompts.parse(*answer)
        except prompts.UnusableAnswer as error:
            try:
                answer = self._ask(chat, line)
            except _OverBudget:
                raise error from None
        line["draft"] = answer[0]
        return prompts.parse(*answer)

    def _ask(self, chat, line):
        """Send one request within the budget, and add what it cost to ``line``: (text, kind, whether it was cut)."""
        longest = prompts.LONGEST[self.kind]
        most = sum(prompts.tokens(message["content"]) for message in chat), longest
        if not self.purse.take(*most):
            raise _OverBudget("the budget does not cover one more request. Raise it to go on.")
        used = 0, 0
        try:
            answer = self.server.ask(chat, longest, self.halt)
            asked = "".join(message["content"] for message in chat)
            used = prompts.believed(answer.prompt_tokens, asked), prompts.believed(answer.answer_tokens, answer.text)
        finally:
            self.purse.settle(most, used)
        for name, cost in zip(COSTS, (1, *used), strict=True):
            line[name] += cost
        return answer.text, self.kind, answer.cut


def _as_dict(claim):
    plain = lambda value: value if value is None or isinstance(value, str) else float(value)
    return {
        "text": claim.text,
        "quantity": claim.quantity,
        "claimed": plain(claim.claimed),
        "measured": plain(claim.measured),
    }
