"""How each downstream task is judged: its scores, its baselines, and what is shown. Adding one is adding a file and a line."""

from importlib import import_module

from diptych.evaluation.judges.judge import Judge, run_judge

JUDGES = {
    "classification": "diptych.evaluation.judges.classification:ClassificationJudge",
    "tagging": "diptych.evaluation.judges.tagging:TaggingJudge",
    "embedding": "diptych.evaluation.judges.embedding:EmbeddingJudge",
    "seq2seq": "diptych.evaluation.judges.seq2seq:Seq2SeqJudge",
    "roles": "diptych.evaluation.judges.roles:RolesJudge",
    "answering": "diptych.evaluation.judges.answering:AnsweringJudge",
    "chat": "diptych.evaluation.judges.chat:ChatJudge",
    "preference": "diptych.evaluation.judges.preference:PreferenceJudge",
}


def judge_of(task_name: str) -> Judge:
    """The judge of the task called so."""
    module, _, attribute = JUDGES[task_name].partition(":")
    return getattr(import_module(module), attribute)()


__all__ = ["Judge", "judge_of", "run_judge"]
