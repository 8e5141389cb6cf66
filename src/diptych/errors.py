"""Every mistake a user can make, with a code, what happened and what to do.

A message lives in `CATALOGUE` under its code, in English; `messages` translates it when it is shown. Raise the subclass
that fits the floor (`DataError("E101", path=...)`), never a bare `Exception`. Programming errors stay plain asserts.

Codes: E1xx text and data, E2xx tokenizers and packing, E3xx models and folders, E4xx recipes and flags,
E5xx training, E6xx generating and predicting, E7xx evaluation and reports, E8xx explaining and auditing, E9xx the machine.
"""

import errno
from dataclasses import dataclass
from functools import partial
from typing import Any

from diptych.messages import _, mark


@dataclass(frozen=True)
class Message:
    what: str
    """What happened and where, a `str.format` template."""
    fix: str
    """What to do about it, the same kind of template."""


class DiptychError(Exception):
    """A mistake that the user can mend. `str(error)` is the whole message, in the user's language.

    Args:
        code: a key of `CATALOGUE`.
        values: what the templates of that code name.
    """

    def __init__(self, code: str, **values: object) -> None:
        assert code in CATALOGUE, f"{code} is not in the catalogue of errors"
        self.code = code
        self.values = values
        super().__init__(code, values)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self.code, **self.values), ()

    @property
    def what(self) -> str:
        return _(CATALOGUE[self.code].what).format(**self.values)

    @property
    def fix(self) -> str:
        return _(CATALOGUE[self.code].fix).format(**self.values)

    def __str__(self) -> str:
        return f"{self.code}  {self.what}\n      {self.fix}"


class DataError(DiptychError):
    """The text, the table or the tokenizer cannot be used as it is."""


class ModelError(DiptychError):
    """A model or its folder cannot be read, written or built."""


class RecipeError(DiptychError):
    """A recipe, a flag or an argument is wrong."""


class TrainingError(DiptychError):
    """Training cannot start or cannot go on."""


class UsageError(DiptychError):
    """A trained model was asked for something that it cannot do."""


class MachineError(DiptychError):
    """The machine lacks something: space, a package, a device."""


def of_system(error: OSError, path: object = None) -> MachineError:
    """What the system refused, as an error that says where and what to do: a full disk, a missing right, a file in the way."""
    name = path or error.filename or "?"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError("E902", path=name)
    return MachineError("E904", path=name, problem=error.strerror or error)


CATALOGUE: dict[str, Message] = {
    # E1xx: text and data
    "E101": Message(
        mark("There is no file or folder {path}."),
        mark("Check the path; a pattern such as 'notes/*.txt' works too."),
    ),
    "E102": Message(
        mark("There is no text in {path}."),
        mark("Diptych reads {kinds}, each also as .gz or in a .zip."),
    ),
    "E103": Message(
        mark('{where}: there is no column "{column}"; the columns are {columns}.'),
        mark("Name one of them with --set task.column=…"),
    ),
    "E104": Message(
        mark("{path} is of a kind that is not read."),
        mark("Diptych reads {kinds}, each also as .gz or in a .zip; convert it to one of them."),
    ),
    "E105": Message(
        mark('There is no encoding called "{encoding}".'),
        mark("Usual ones are utf-8, gb18030, big5 and utf-16; leave it out and it is detected."),
    ),
    "E106": Message(
        mark("{where}: this is no JSON ({problem})."),
        mark("Correct the line, or name the file .txt to read it as it stands."),
    ),
    "E107": Message(
        mark("A {kind} is no table."),
        mark("Give a file, a list of dictionaries, a list of (text, label) pairs, a data frame or a data set."),
    ),
    "E108": Message(
        mark("{where}: no column holds text; the columns are {columns}."),
        mark("Name the column with --set task.column=…"),
    ),
    "E109": Message(
        mark("{path} is a parquet file, and the package pyarrow is not installed."),
        mark("Install it with: pip install pyarrow"),
    ),
    "E110": Message(
        mark("{path} cannot be read: {problem}."),
        mark("The file is damaged or was cut short; copy or download it again."),
    ),
    "E121": Message(
        mark('{where}: the label column "{column}" is empty.'),
        mark("Fill it, or drop such rows with --set task.empty_labels=drop ({count:,} of {total:,} rows)."),
    ),
    "E122": Message(
        mark('{where}: the grade "{value}" is no number.'),
        mark("Mend it, or take the column as classes with --set task.kind=single."),
    ),
    "E123": Message(
        mark("{task} learns from running text, which has no answers to check."),
        mark("Name a task that learns from examples ({known}), or look at text with: diptych corpus check"),
    ),
    "E130": Message(
        mark("A teacher's soft answers are taken for one label a text, and these labels are {kind}."),
        mark("Learn from its hidden states and the labels alone: --set train.regime.distilled.soft=0"),
    ),
    "E131": Message(
        mark('All {count:,} rows have the same label "{label}", so there is nothing to tell apart.'),
        mark("Name another column with --set task.label=…, or add rows of a second class."),
    ),
    "E132": Message(
        mark("{name} has no rows."),
        mark("A table needs a text and a label in each row; check that the right file was named."),
    ),
    "E133": Message(
        mark('{name} has no column "{column}". {hint}'),
        mark("Name the columns with --set task.text=… and --set task.label=…"),
    ),
    "E134": Message(
        mark("{name}: no column can be taken for the {missing}; there are {columns}."),
        mark("Name the columns with --set task.text=… and --set task.label=…"),
    ),
    "E135": Message(
        mark("The labels are {count:,} different numbers in {total:,} rows, from {first} to {last}: a measurement, not classes."),
        mark("Name another column with --set task.label=…, or learn to give such numbers with --set task.kind=graded."),
    ),
    "E136": Message(
        mark('{name}: the column "{column}" cannot be both the text and the label.'),
        mark("Name two columns with --set task.text=… and --set task.label=…"),
    ),
    "E141": Message(
        mark("{where}: {tag} is no tag of a known scheme (IOB1, BIO, BIOES, BILOU, BMES)."),
        mark("Write O, B-NAME, I-NAME and so on; for parts of speech no token of the file may look like one."),
    ),
    "E142": Message(
        mark("None of the {count} texts has a marked stretch: there is nothing to learn."),
        mark("Check the column of the tags, or name the format with --set task.form=columns (or words, spans)."),
    ),
    "E143": Message(
        mark("{where}: too few columns: {line}"),
        mark("A column file holds a token and its tag on each line, and an empty line after each sentence."),
    ),
    "E144": Message(
        mark("{where}: no text with spans in the columns {columns}."),
        mark('Give "text" and "spans" (start, end, label), or "tokens" and "tags".'),
    ),
    "E145": Message(
        mark("{where}: {item} is no span."),
        mark("A span is [start, end, label] or {{start, end, label}}, in characters, and lies within its text."),
    ),
    "E146": Message(
        mark("{where}: {tokens} tokens and {tags} tags."),
        mark("Give one tag for each token."),
    ),
    "E147": Message(
        mark("{where}: no question and no text to answer it from in the columns {columns}."),
        mark("Name the columns with --set task.question=…, --set task.context=… and --set task.answer=…"),
    ),
    "E148": Message(
        mark("No question has an answer that lies in its text: there is nothing to learn."),
        mark("An answer is a stretch of its context, word for word, with answer_start counted in characters from 0."),
    ),
    "E149": Message(
        mark("{where}: {item} is neither a question nor an answer."),
        mark("Write questions as {{question, answers}} and answers as {{text, answer_start}}, as SQuAD has them."),
    ),
    "E150": Message(
        mark("{item} is no question with its text."),
        mark("Give pairs of the two: [(question, context), …]."),
    ),
    "E151": Message(
        mark("{where}: the bracket {cell} has no other half."),
        mark("In a column of roles each (ROLE* is closed by a *) of the same sentence, and (ROLE*) holds one token."),
    ),
    "E152": Message(
        mark("None of the {count} sentences has a role: there is nothing to learn."),
        mark("Roles stand in the last columns, one for each predicate: (ARG0*), (V*), (ARG1* to *)."),
    ),
    "E153": Message(
        mark("{item} is neither a text nor a text with its predicates."),
        mark("Give a text, whose predicates are then found, or (text, [(start, end), …])."),
    ),
    "E155": Message(
        mark("{first} has {lines} lines and {second} has {other}: their lines do not belong together."),
        mark("The n-th line of one file is the translation of the n-th of the other; see where they part."),
    ),
    "E156": Message(
        mark("{name}: which column is the source and which what is to be written from it, cannot be guessed ({columns})."),
        mark("Name them with --set task.source=… and --set task.target=…"),
    ),
    "E157": Message(
        mark("{where}: no conversation: {found}."),
        mark('Give "messages" with role and content, "conversations" with from and value, or a question and an answer.'),
    ),
    "E158": Message(
        mark("The chat template cannot be learnt by: in turn {turn} the assistant's words have no end of their own, or no fixed place."),
        mark("Each turn must end with a special token, and stay as it is when others follow; ChatML does."),
    ),
    "E160": Message(
        mark("None of the {count:,} examples has both what is given and what is to be written."),
        mark("Check the columns, or the roles of a conversation: user and assistant."),
    ),
    "E165": Message(
        mark("{path}: the vectors of this model are made by a step that we do not have: {what}."),
        mark("Take a model that pools its tokens (mean, first, last, largest) and normalizes, or leave {path} out to take the mean."),
    ),
    "E166": Message(
        mark("{name}: no two columns can be the texts of a pair; there is {columns}."),
        mark("Name them: --set task.text=… --set task.pair=…, and task.score=… where the pairs are graded."),
    ),
    "E167": Message(
        mark("Pairs are learnt by telling them apart, and there is {count}."),
        mark("Give at least two different pairs."),
    ),
    "E168": Message(
        mark('{where}: the score "{value}" is no number.'),
        mark("Grades are numbers, the larger the more alike. Leave task.score out if the column is something else."),
    ),
    "E169": Message(
        mark("Vectors of {wanted} numbers were asked for, and this model's have {most}."),
        mark("Take fewer of them, or all by leaving dimensions out."),
    ),
    "E170": Message(
        mark("There is no text to search in {path}."),
        mark("Name a folder or files that hold text: {kinds}."),
    ),
    "E171": Message(
        mark("The index file {path} is damaged: {problem}."),
        mark("Delete the folder that it lies in; the index is made again from the texts."),
    ),
    "E172": Message(
        mark("{path} holds something that is no index."),
        mark("Name a folder of its own for the index."),
    ),
    "E173": Message(
        mark("There is nothing to decide: of {count} rows with {labels} different labels, no two labels have two rows each."),
        mark("Label a few more texts; each label needs one to learn from and one to be asked about."),
    ),
    "E174": Message(
        mark("There are {count} groups, and one cannot be left out of fewer than two."),
        mark("Name the column that says where each text is from, such as a domain or a customer."),
    ),
    "E175": Message(
        mark("The table is decided for texts with one label each, and these labels are of the kind {kind}."),
        mark("Fine-tune instead: `diptych finetune` puts such labels beside TF-IDF; or say --set task.kind=single there."),
    ),
    "E180": Message(
        mark('Nothing in {name} says what belongs to a "{group}".'),
        mark("In a column file a comment before the sentences does, # {group} = value; in JSON a field of this name. Lists have none."),
    ),
    "E181": Message(
        mark("{where} holds no two answers to the same conversation: it has {columns}."),
        mark("Give prompt, chosen and rejected, as texts or lists of messages; or two conversations that part at the last answer."),
    ),
    "E182": Message(
        mark("Of {count} pairs none fits into the model's context."),
        mark("Shorten the answers, or take a model with a longer context."),
    ),
    "E190": Message(
        mark("{where}: this is no expression that can be searched for, {pattern}: {problem}."),
        mark("Expressions are those of Python's re; in YAML they stand in single quotes: pattern: '\\d{{6}}'."),
    ),
    "E191": Message(
        mark("{where}: there are texts in which this expression takes longer than there is time: {pattern}"),
        mark("Give its repeats an end, such as {{1,20}} in place of + and *, and put none inside another."),
    ),
    "E192": Message(
        mark("The rule for {kind} took more than {seconds} s on one text: {pattern}"),
        mark("Give its repeats an end, such as {{1,20}}, and begin it with something rare."),
    ),
    "E193": Message(
        mark("Pseudonyms follow from a secret, and {path} holds none of at least 16 bytes."),
        mark("Name a file with `secret`, for example one made by: openssl rand -hex 32 > secret.txt"),
    ),
    "E194": Message(
        mark('"{kind}" is no kind of personal data that is known. {hint}'),
        mark("Rules of your own add kinds: --rules my.yaml"),
    ),
    "E195": Message(
        mark("{folder} does not tag people or places: its labels are {labels}."),
        mark("Name the folder of a tagger with a label such as PER, PERSON or LOC."),
    ),
    "E196": Message(
        mark("{path} keeps no fingerprints of what the model learnt from."),
        mark(
            "Ask the folder that the training wrote. There are none where run.fingerprints is false, under a regime that keeps "
            "examples to those whose they are, and in folders of other programs."
        ),
    ),
    "E197": Message(
        mark("{path} holds no fingerprints: it is damaged, or something else."),
        mark("Copy it once more from where the model was trained."),
    ),
    # E2xx: tokenizers and packing
    "E201": Message(
        mark("There is no text to learn a tokenizer from."),
        mark("The corpus is empty, or cleaning left nothing of it; `diptych corpus stats` shows what it holds."),
    ),
    "E202": Message(
        mark("There is no readable tokenizer in {path} ({problem})."),
        mark("A folder needs tokenizer.json, or vocab.txt, or vocab.json with merges.txt."),
    ),
    "E203": Message(
        mark("This tokenizer has no token for {missing}, and the task {task} cannot do without."),
        mark("Take a tokenizer that has one, as those made for this task have, or another task."),
    ),
    "E204": Message(
        mark("Next-sentence prediction needs passages of other documents, and this corpus is one document."),
        mark("Add documents, or leave it out with --set task.nsp=false."),
    ),
    "E205": Message(
        mark("A unigram tokenizer has a token for each of the {count:,} characters of this text, and {size:,} tokens are too few."),
        mark("Ask for more with vocab_size, or take another kind: bpe, wordpiece or characters."),
    ),
    "E206": Message(
        mark(
            "Whole words cannot be hidden: {share} of the letters ({example}…) are in a script without spaces, and its words are not known."
        ),
        mark("English and Chinese have words here; take single tokens with --set task.mask_units=tokens."),
    ),
    "E207": Message(
        mark("Whole words cannot be hidden: the text has Chinese, and the package that finds its words is not installed."),
        mark("Install it with: pip install rjieba – or take single tokens with --set task.mask_units=tokens."),
    ),
    "E208": Message(
        mark("The task {task} cannot train or judge a model of this kind ({family})."),
        mark("Take one that fits with --base, such as {example}, or another task with --task."),
    ),
    "E209": Message(
        mark("This tokenizer has no sentinels (<extra_id_0> …), which span corruption needs."),
        mark("Let one be trained with the model, or take --set task.noise=infilling."),
    ),
    "E210": Message(
        mark("A budget in words was named, and the text holds no words."),
        mark("Name a budget in steps, tokens or minutes."),
    ),
    "E211": Message(
        mark("The tokens in {path} are damaged or were cut short."),
        mark("Remove that folder; it is written anew from the text."),
    ),
    # E3xx: models and folders
    "E301": Message(
        mark("A model cannot have {field} = {value}."),
        mark("It must be {rule}."),
    ),
    "E302": Message(
        mark("A text of {length} tokens is longer than the context of {limit} that this model reads."),
        mark("Shorten the text, or create the model with a larger context_length."),
    ),
    "E303": Message(
        mark("This network has no head that gives logits (its heads: {heads})."),
        mark("Fine-tune or pretrain it first, or ask for hidden vectors."),
    ),
    "E304": Message(
        mark("This folder uses {feature}, which Diptych's {family} does not know."),
        mark("Choose another model of the family."),
    ),
    "E305": Message(
        mark('There is no preset called "{name}". {hint}'),
        mark("`diptych models` lists them."),
    ),
    "E306": Message(
        mark('A model has no field "{name}". {hint}'),
        mark("`diptych recipe schema` lists what a model can be told."),
    ),
    "E307": Message(
        mark("The weights of GPT-3 were never published; nobody can load them."),
        mark('Fetch one that was, such as `diptych pull openai-community/gpt2`, or train anew: `diptych models "gpt-3*"` has its sizes.'),
    ),
    "E308": Message(
        mark("{name} is neither a model folder nor the name of an installed model or a preset. {hint}"),
        mark("Give the path of a folder with config.json, pretrain one, or fetch one from the hub with `diptych pull`."),
    ),
    "E311": Message(
        mark("The model folder {path} has no {file}."),
        mark("A model folder holds config.json and model.safetensors; check the path or copy it again."),
    ),
    "E312": Message(
        mark("{path} cannot be read: {problem}."),
        mark("The file is damaged or was cut short; copy or download it again."),
    ),
    "E313": Message(
        mark('{path} holds a model of the type "{name}", which Diptych does not know. {hint}'),
        mark("Choose a model of a known family."),
    ),
    "E314": Message(
        mark("{path} asks to run code of its own, which Diptych never does."),
        mark("Choose a model of a known family that needs no code of its own."),
    ),
    "E315": Message(
        mark("The weights in {path} are pickled, and a pickle can run any code when it is opened."),
        mark("Convert them, with a loader that builds tensors and nothing else: diptych convert {path} --out {path}-safe"),
    ),
    "E316": Message(
        mark("The weights in {path} are not those of this model. Missing: {missing}. Unexpected: {unexpected}."),
        mark("Check that config.json and the weights belong together."),
    ),
    "E317": Message(
        mark("In {path} the weight {name} has the shape {found}; config.json asks for {expected}."),
        mark("Check that config.json and the weights belong together."),
    ),
    "E318": Message(
        mark("{path} holds a run that is not finished, not a model."),
        mark("Go on with it: diptych pretrain (or finetune) … --resume"),
    ),
    "E321": Message(
        mark("{path} is no GGUF file: it begins with {found}."),
        mark("Give a file whose name ends in .gguf, or the folder of a Hugging Face model."),
    ),
    "E322": Message(
        mark("{path} is a GGUF file of {what}, which is not read."),
        mark("Convert the model again with a present llama.cpp; versions 2 and 3 in little-endian order are read."),
    ),
    "E323": Message(
        mark("{path} is damaged or was cut short, at byte {place:,} of {size:,}: {problem}."),
        mark("Copy or download it again; nothing was loaded."),
    ),
    "E324": Message(
        mark("In {path} the tensor {name} is kept as {kind}, which cannot be read."),
        mark("Take a file of the type F32, F16, BF16, Q8_0, Q4_0, Q4_1 or of a K type."),
    ),
    "E325": Message(
        mark("The tokenizer in {path} cannot be read: {problem}."),
        mark("Take a GGUF file whose tokenizer is of the kind of GPT-2, Llama or BERT."),
    ),
    "E326": Message(
        mark("This tokenizer has no form in GGUF: {problem}."),
        mark("Train one of the kind bpe for a model that writes, or wordpiece for a BERT, and the model with it."),
    ),
    "E327": Message(
        mark("This model ({family}) has no form in GGUF that llama.cpp opens: {problem}."),
        mark("GPT-2, Llama, Qwen3 and BERT have one; the model's folder opens with transformers as it is."),
    ),
    "E328": Message(
        mark("This model has no chat template, so nobody knows how it was taught to converse."),
        mark("Load one that was, such as smollm2, or write on from a prompt with generate."),
    ),
    "E329": Message(
        mark("The chat template of this model cannot be used: {problem}."),
        mark("Check the roles and their order; most templates take user and assistant by turns, after an optional system."),
    ),
    "E331": Message(
        mark("All weights of {name} are pickled, and a pickle can run any code when it is opened; nothing was fetched."),
        mark("Choose one that has safetensors; or fetch its files yourself, then: diptych convert FOLDER --out NEW"),
    ),
    "E332": Message(
        mark("There is no model {name} at {endpoint}, or no such revision of it."),
        mark("Check its name, OWNER/MODEL; for one that is not public set HF_TOKEN."),
    ),
    "E333": Message(
        mark("{name} lists a file whose name leads out of its folder ({file}); nothing was fetched."),
        mark("Do not use this model, and tell the hub about it."),
    ),
    "E334": Message(
        mark("{file} of {name} did not arrive as it was announced: {problem}."),
        mark("Fetch it again; what is whole already is kept. If it fails again, the hub or the mirror has a wrong file."),
    ),
    "E335": Message(
        mark("{name} is no name of a model, of a revision or of a hub."),
        mark("A model is called OWNER/MODEL, a revision main or a commit; HF_ENDPOINT begins with https://."),
    ),
    "E336": Message(
        mark("{path} holds more than tensors, or is damaged ({problem})."),
        mark("What it asks for beyond tensors is not done; take a copy of the model that has safetensors."),
    ),
    "E342": Message(
        mark("A recurrent net ({family}) has no {field}."),
        mark("Leave it out; its sizes are vocab_size, hidden_size, num_layers and context_length."),
    ),
    # E4xx: recipes and flags
    "E401": Message(
        mark("The recipe {path} cannot be read: {problem}."),
        mark("A recipe is a YAML file in UTF-8; `diptych recipe show` prints a complete one."),
    ),
    "E402": Message(
        mark('{where}: there is no setting "{key}". {hint}'),
        mark("`diptych recipe schema` lists every setting."),
    ),
    "E403": Message(
        mark("{where}: {key} cannot be {value}: {problem}."),
        mark("`diptych recipe schema` says what each setting takes."),
    ),
    "E404": Message(
        mark('"{item}" does not say which setting gets which value.'),
        mark("Write it as part.name=value, for example --set train.lr=3e-4."),
    ),
    "E405": Message(
        mark('{where}: the setting "{key}" is missing.'),
        mark("Add it to the recipe, or give it with --set {key}=…"),
    ),
    "E406": Message(
        mark('There is no task called "{name}". {hint}'),
        mark("`diptych recipe schema` lists the tasks and their settings."),
    ),
    "E407": Message(
        mark('There is no regime called "{name}". {hint}'),
        mark("Leave train.regime out for plain training."),
    ),
    "E411": Message(
        mark("{path} already holds a finished model."),
        mark("Choose another folder with --out, or replace it with --overwrite."),
    ),
    "E412": Message(
        mark("{path} holds a run that is not finished."),
        mark("Go on with --resume, or start anew with --overwrite."),
    ),
    "E413": Message(
        mark("{path} is not empty, and what it holds is not a run of Diptych."),
        mark("Choose another folder with --out; nothing there has been touched."),
    ),
    "E414": Message(
        mark("{path} was started with other settings ({changes})."),
        mark("Resume with the settings it had (see diptych/recipe.yaml there), or choose another --out."),
    ),
    "E415": Message(
        mark('There is no machine called "{name}" in the table. {hint}'),
        mark("Say `this`, or how many of what, such as 8xH100; known are {known}."),
    ),
    "E416": Message(
        mark("A plan cannot be made for {hours} hours."),
        mark("Say how long it may take with --hours, for example --hours 8."),
    ),
    "E417": Message(
        mark("A price of {price} is none."),
        mark("Say with --price what one device costs in an hour, in dollars; 0 for nothing."),
    ),
    "E418": Message(
        mark("There is nothing to plan."),
        mark("Name a recipe, a preset or a model folder, or a text with --text and --hours."),
    ),
    "E419": Message(
        mark("With preset: auto a size is chosen by the time there is, and this recipe says {budget}."),
        mark("Say train.minutes or train.hours, or name a preset."),
    ),
    "E420": Message(
        mark("Which size suits the task {task} is not known, so preset: auto cannot choose one."),
        mark("Name a preset or a base; auto is for {known}."),
    ),
    "E421": Message(
        mark("A batch cannot grow over a budget in minutes: how many steps that will be is not known."),
        mark("Give the budget in steps, epochs or tokens, or leave train.batch_ramp out."),
    ),
    "E422": Message(
        mark("The task {task} cannot show its texts in shorter pieces."),
        mark("Leave train.length_ramp out; it is for causal-lm."),
    ),
    "E423": Message(
        mark("A stage of train.length_ramp has pieces of {length} tokens, and the context has {context}."),
        mark("Leave out the stages that are not shorter than the context."),
    ),
    "E424": Message(
        mark("With the sizes that the recipe names, even the smallest model is too large to be tried here."),
        mark("Leave model.sizes to preset: auto, or name a preset in its place."),
    ),
    # E5xx: training
    "E501": Message(
        mark("There is nothing to train on: after cleaning, no text is left."),
        mark("The ledger above says what was dropped and why; add text or clean less."),
    ),
    "E502": Message(
        mark("Every checkpoint in {path} is damaged."),
        mark("Start anew with --overwrite; a full disk or a pulled plug is the usual cause."),
    ),
    "E503": Message(
        mark("The loss is no longer a number at step {step} (learning rate {lr}). The state of step {good} is kept."),
        mark("Resume with a lower learning rate, for example --resume --set train.lr={lower}, or a longer warm-up."),
    ),
    "E504": Message(
        mark("The loss is no longer a number at step {step} (learning rate {lr}), and this run keeps no checkpoints."),
        mark("Train again with a lower learning rate, for example {lower}, or a longer warm-up."),
    ),
    "E505": Message(
        mark("With the regime {regime} nothing is left to train: this model's {heads} has no weights of its own."),
        mark("Leave train.regime out; a head that shares the embedding's matrix cannot learn alone."),
    ),
    "E506": Message(
        mark("{path} was started with other text or other rows."),
        mark("Resume with the data it had, or start anew with --overwrite."),
    ),
    "E520": Message(
        mark("Rank {rank} was started with another recipe than the first one ({changes})."),
        mark("Start every rank with the same command and the same recipe file."),
    ),
    "E521": Message(
        mark("Rank {rank} has other data than the first one ({data} instead of {first})."),
        mark("Give every machine the same text or table, best on a file system that they share."),
    ),
    "E522": Message(
        mark("Rank {rank} waited for another rank that is gone ({problem})."),
        mark("Go on with --resume, or let torchrun do so by itself: torchrun --max-restarts 3 …"),
    ),
    "E523": Message(
        mark("Rank {rank} does not see {path}, which the first rank has made."),
        mark("Let --out name a folder on a file system that all machines share."),
    ),
    "E524": Message(
        mark("Several ranks cannot work together on {device}."),
        mark("Take --set run.device=cpu, or start one process without torchrun."),
    ),
    "E530": Message(
        mark("The teacher {teacher} knows other labels ({theirs}) than the student is to learn ({ours})."),
        mark("Fine-tune the teacher on a table with these labels first, or teach by relations alone: soft: 0, relations: 1."),
    ),
    "E531": Message(
        mark("The teacher {teacher} numbers its tokens otherwise than the student."),
        mark("Start the student from the teacher (model.base), or give it the teacher's tokenizer: model.tokenizer.folder."),
    ),
    "E532": Message(
        mark("The teacher {teacher} has no head that answers: {heads}."),
        mark("Train it for this task first, or teach by what goes on inside alone: soft: 0, relations: 1."),
    ),
    "E533": Message(
        mark("Teacher and student cannot be compared by {what}; the limit is {limit}."),
        mark("Leave the setting out, or choose a smaller number that divides the limit."),
    ),
    "E534": Message(
        mark('No matrix of this model is called "{name}". {hint}'),
        mark("Name modules as the model's folder has them, or leave train.regime.lora.targets out for every linear layer."),
    ),
    "E535": Message(
        mark("The adapter {path} asks for arithmetic that Diptych does not have: {feature}."),
        mark("Merge it with the tool that made it (merge_and_unload in peft) and load the merged model."),
    ),
    "E536": Message(
        mark("The adapter {path} belongs to another base: {problem}."),
        mark("Load it onto the model that it was trained on; its adapter_config.json may name it."),
    ),
    "E537": Message(
        mark("An adapter is a difference to a model that is there already, and this one starts from fresh weights."),
        mark("Name a base (model.base), or leave train.regime.lora.adapter out."),
    ),
    "E538": Message(
        mark("The service at {address} does not answer: {problem}."),
        mark("Check the address (it ends in /v1 as a rule), the model's name and the key, then go on with --resume."),
    ),
    "E539": Message(
        mark("The service at {address} answers what cannot be used: {answer}"),
        mark("Another model, or one that follows instructions better, may do; it must speak OpenAI's chat completions."),
    ),
    "E540": Message(
        mark("The environment variable {name} holds no key."),
        mark("Set it in the shell that starts Diptych; keys do not belong into recipes."),
    ),
    "E541": Message(
        mark("The service {teacher} can teach by its answers alone, and only when its model is named."),
        mark("Set model to its name, and leave hidden and relations at 0."),
    ),
    "E542": Message(
        mark("The service {teacher} cannot be its own student: its weights are elsewhere."),
        mark("Name a student, a preset (bert-mini) or a model folder: --student."),
    ),
    "E543": Message(
        mark("A tokenizer of the kind {kind} cannot be given more words: it does not join tokens to longer ones."),
        mark("Leave model.more_tokens out, or start from a model with WordPiece or byte-level BPE."),
    ),
    "E544": Message(
        mark("There is no text to replay in {path}."),
        mark("Name files or folders with general text, or leave task.replay out."),
    ),
    "E550": Message(
        mark("Differential privacy is accounted for by Opacus, which is not installed."),
        mark("Install it: pip install 'diptych[privacy]'"),
    ),
    "E551": Message(
        mark("The gradients of {module} ({kind}) cannot be clipped exactly, so privacy cannot be promised with it."),
        mark("Freeze that part (train.regime: [frozen, private] or [lora, private]), or take a model without it."),
    ),
    "E552": Message(
        mark("One weight learns under two names, {first} and {second}: its gradient would be measured in part."),
        mark("Let the two have weights of their own, or freeze them."),
    ),
    "E553": Message(
        mark("It cannot be told whose the rows are that {module} is given, so their gradients cannot be clipped by unit."),
        mark("Train this model or task without the regime private."),
    ),
    "E554": Message(
        mark("Groups are to be protected, and it is not said which row belongs to which group."),
        mark("Name a table's column with --set task.group=…, or protect rows and documents: --set train.regime.private.unit=document."),
    ),
    "E555": Message(
        mark("{count:,} of {total:,} examples have an empty cell in the column of groups, so they are nobody's."),
        mark("Fill the cells, each with a name of its own where nobody shares it, or drop these rows."),
    ),
    "E556": Message(
        mark("Nothing learns: every weight is frozen."),
        mark("Leave out one of the regimes around the training."),
    ),
    "E557": Message(
        mark("The accountant {accountant} cannot tell what these steps cost: there is too little noise for it."),
        mark("Take more noise or fewer steps, or the other accountant: --set train.regime.private.accountant=rdp."),
    ),
    "E558": Message(
        mark("No noise is enough for ε = {epsilon} at δ = {delta} over so many steps."),
        mark("Allow a larger ε, take fewer steps, or a smaller batch."),
    ),
    "E559": Message(
        mark("Before the first step: the clipped gradient of {module} is not the sum of its examples' own, by {share} of its length."),
        mark("Nothing was trained. Train this model or task without the regime private."),
    ),
    "E560": Message(
        mark("The regime {name} is not accounted for inside of private."),
        mark("Inside may lie: frozen, lora. Let private be the last one of train.regime."),
    ),
    "E561": Message(
        mark(
            "In the task {task} what an example costs depends on others: {what}. Without one of them more than one gradient would change."
        ),
        mark("Change the setting that is named, or train without the regime private."),
    ),
    "E562": Message(
        mark("The setting run.recompute makes the insides of layers again, which clipping has to see the first time."),
        mark("Leave it out; train.micro_batch_tokens makes the memory of a step smaller."),
    ),
    "E563": Message(
        mark("A step is to show {size:,} units on average, and there are {count:,}."),
        mark("Set train.batch_size to {count} or less; a private step needs many units, but not all of them at once."),
    ),
    "E564": Message(
        mark("{what} does not go together with the regime private, whose steps are accounted for as all alike and whole."),
        mark("Leave it out."),
    ),
    "E565": Message(
        mark("An ε that sets the noise needs to know how many steps there will be, and the budget is in tokens or minutes."),
        mark("Give a budget in steps or epochs, or say train.regime.private.noise as well: then the run ends where ε is reached."),
    ),
    "E566": Message(
        mark("With this noise a single step costs more than ε = {epsilon}."),
        mark("Take more noise, a smaller batch, or a larger ε."),
    ),
    "E567": Message(
        mark("The private run was begun with {what} = {before} and would go on with {now}: what it costs could not be told."),
        mark("Go on with the settings that it was begun with, or begin anew with --overwrite."),
    ),
    "E568": Message(
        mark("{what} would be learnt from the text itself, and no noise hides that: the promise of privacy would not hold."),
        mark("Start from a model or a tokenizer that learnt from other text (model.base, model.tokenizer.folder); leave {setting} out."),
    ),
    "E575": Message(
        mark("Nobody says whose examples are whose, so there is no federation to train in."),
        mark("Take federated with finetune or pretrain."),
    ),
    "E576": Message(
        mark("A federation's rounds are parts of what each client trains, which cannot be said in {budget}."),
        mark("Say it in epochs or steps, for example --set train.epochs=3."),
    ),
    "E577": Message(
        mark("A federation is simulated in one process, and this run has several."),
        mark("Start it without torchrun; clients on machines of their own are driven by Flower (see the guide)."),
    ),
    "E578": Message(
        mark("The client {client} has no example that could be trained on."),
        mark("Leave it out, or give it some."),
    ),
    "E579": Message(
        mark("Round {round}: {count} clients were asked, and nothing that they sent could be used; the ledger names each and why."),
        mark("The weights are those of the round before. If losses are no numbers, lower the learning rate: --set train.lr=…"),
    ),
    "E580": Message(
        mark("The regime {outer} stands around federated, whose rounds are made of the steps of the regimes within."),
        mark("Name federated last: train.regime: [{outer}, federated]."),
    ),
    "E581": Message(
        mark("{where}: the row has no group, so it is nobody's."),
        mark("Name the column with --set task.group=…, and fill it in every row, or divide by labels or by chance."),
    ),
    "E582": Message(
        mark("{where}: the row has no label of its own, so that labels cannot be spread unevenly."),
        mark("Divide by chance, by group or by file: --set train.regime.federated.by=chance."),
    ),
    "E583": Message(
        mark("The examples do not stand in several files, so that they cannot be divided by file."),
        mark("Name the files in task.data, a list of them, or divide by group, labels or chance."),
    ),
    "E584": Message(
        mark("Machines that train together start from copies of one model that has a head for {task}, and this recipe names none."),
        mark("Set model.base to it; fine-tuning any model for a step on a few public examples makes one."),
    ),
    "E585": Message(
        mark("What is to be summed is no number, or larger than {most}."),
        mark("Lower the learning rate of this member, or leave it out of the round."),
    ),
    "E586": Message(
        mark("{threshold} of {members} members cannot be the fewest that mend a sum."),
        mark("Choose more than half of them, and not more than there are."),
    ),
    "E587": Message(
        mark("The share that {member} sealed was changed on its way."),
        mark("Leave {member} out of this round, and see who carries the messages."),
    ),
    "E588": Message(
        mark("The server asked {member} for both secrets of somebody, or twice: with both it would know what that member sent."),
        mark("Nothing was said. End the round, and do not trust this server."),
    ),
    "E589": Message(
        mark("{left} members are left, and {threshold} are needed to mend the sum."),
        mark("Repeat the round, with a lower threshold if so many drop out each time."),
    ),
    "E590": Message(
        mark("The documents of a running text are dealt among clients by chance, not by {by}."),
        mark("Set train.regime.federated.by to chance, or train each client's text on a machine of its own."),
    ),
    "E591": Message(
        mark("Privacy for clients is counted where each is drawn by itself; machines that train together are not."),
        mark("Leave clip and noise out, or simulate the federation in one process."),
    ),
    # E6xx: generating and predicting
    "E601": Message(
        mark("{name} cannot be {value}."),
        mark("It must hold that {rule}."),
    ),
    "E602": Message(
        mark("This model ({family}) understands but does not write."),
        mark("Ask it to fill a blank, or load a model that writes, such as one pretrained with task.name=causal-lm."),
    ),
    "E603": Message(
        mark("The prompt is empty."),
        mark("Give at least one character, or a model whose tokenizer has a token for the beginning of a text."),
    ),
    "E604": Message(
        mark("This model has no tokenizer, so it reads numbers but no text."),
        mark("Load a folder that has a tokenizer.json, or call logits(input_ids)."),
    ),
    "E605": Message(
        mark("This model ({family}) has no decoder beside its encoder."),
        mark("Leave decoder_input_ids out."),
    ),
    "E606": Message(
        mark("This model ({family}) fills no blanks."),
        mark("Load one pretrained with task.name=masked-lm; a model that writes answers `next` and `generate`."),
    ),
    "E607": Message(
        mark("The text has no blank to fill."),
        mark("Put {mask} where the missing word stands."),
    ),
    "E608": Message(
        mark("The text has {length} tokens and this model reads at most {limit}."),
        mark("Shorten it around the blank."),
    ),
    "E609": Message(
        mark("This model has no classes to choose from."),
        mark("Fine-tune it first: diptych finetune table.csv --base FOLDER --out my-classifier"),
    ),
    "E611": Message(
        mark("There are {texts} texts and {labels} labels or answers."),
        mark("Give one for each text."),
    ),
    "E612": Message(
        mark("This {name} has not been fitted."),
        mark("Call fit(X, y) first."),
    ),
    "E613": Message(
        mark("The text has {length} tokens and this model reads at most {limit}."),
        mark("Shorten it, or give it in parts."),
    ),
    "E614": Message(
        mark("One of these models does {first}, the other {second}: there is nothing to compare."),
        mark("Compare two models that were fine-tuned for the same task."),
    ),
    "E620": Message(
        mark("This estimator has a parameter or a label that JSON cannot hold: {problem}."),
        mark("Use texts, numbers, lists and dictionaries, or save the model alone: estimator.model_.save(folder)."),
    ),
    "E621": Message(
        mark("{path} holds a model for {found}; {name} needs one for {wanted}."),
        mark("Load it as what it is, dt.load(folder), or fine-tune one for {wanted}."),
    ),
    "E622": Message(
        mark("{path} does not say what a saved estimator says: {problem}."),
        mark("Open the model alone, dt.load(folder), or save the estimator again."),
    ),
    "E623": Message(
        mark("A text has several labels, and a TextClassifier learns one for each."),
        mark('Fine-tune for several at once: dt.finetune(base, rows, kind="several").'),
    ),
    "E624": Message(
        mark("An input has to be a question and its text; this is {item}."),
        mark("Give a list of (question, text), or a table of these two columns."),
    ),
    "E625": Message(
        mark("The fresh weights of {base} say nothing of texts, and texts alone do not teach which mean the same."),
        mark('Start from a model that has learnt, such as "minilm", or fit on pairs of texts that belong together.'),
    ),
    "E626": Message(
        mark("{where} holds no list of hypotheses: {found}."),
        mark('Give {{"hypotheses": [{{"text": …, "score": …}}, …], "reference": …}} on each line, the score a natural logarithm.'),
    ),
    "E627": Message(
        mark("No list has a reference, so that no weight can be chosen."),
        mark("Give lists with references (--dev dev.jsonl), or the weight itself (--weight 0.5)."),
    ),
    "E628": Message(
        mark('There is no item "{item}".'),
        mark("Name an item by what stands in the column of identities, or by its number, counted from 1. {hint}"),
    ),
    "E629": Message(
        mark("{path} holds no choices of items: {problem}."),
        mark("Give columns for the user, the item and, to be judged, the time: user,item,time."),
    ),
    "E630": Message(
        mark("There is nothing to recommend from: no item was named, and of the user {user} no choice is known."),
        mark("Name items (--like ID), or a table of choices and a user who is in it (--choices choices.csv --user NAME)."),
    ),
    "E640": Message(
        mark("{first} and {second} do not go together."),
        mark("Leave one of them out; `diptych generate --help` says what each does."),
    ),
    "E641": Message(
        mark("{name} has no effect without {needed}."),
        mark("Set {needed} as well, or leave {name} out."),
    ),
    "E642": Message(
        mark("A bias needs one token, and {name} is none ({tokens})."),
        mark("`diptych tokenizer show` says how a text is cut; name a token by its text or its number."),
    ),
    "E643": Message(
        mark('There is no setting "{key}" of what is written. {hint}'),
        mark("`diptych generate --help` lists all of them."),
    ),
    "E644": Message(
        mark("{key} cannot be {value}: {problem}."),
        mark("`diptych generate --help` says what each setting does."),
    ),
    "E645": Message(
        mark("A recurrent net ({family}) cannot take back what it has read, which guessing ahead needs."),
        mark("Leave the draft out."),
    ),
    "E646": Message(
        mark("The model that is to guess has other tokens than the one that writes."),
        mark("Take one that was trained with the same tokenizer (model.tokenizer.folder), or draft from the text."),
    ),
    "E647": Message(
        mark("Answers of a given form need the package llguidance, which is not installed."),
        mark("Install it with: pip install llguidance"),
    ),
    "E648": Message(
        mark("The form of the answer ({kind}) cannot be read: {problem}"),
        mark("Mend it; the guide says which regular expressions, JSON schemas and grammars are understood."),
    ),
    "E649": Message(
        mark("With a tokenizer of the kind {kind} no form can be kept to: what a token adds to a text depends on its neighbours."),
        mark("Take a model with byte-level BPE, Unigram or characters."),
    ),
    "E650": Message(
        mark("The form of the answer ({kind}) cannot be kept to: {problem}."),
        mark("The tokenizer may lack what must come next (one of the kind bpe can write every text), or the form is too large."),
    ),
    "E651": Message(
        mark("A model in eight bits cannot be trained, and no gradient goes through it."),
        mark("Take the model that it was made of, train that, and compress it afterwards."),
    ),
    "E652": Message(
        mark("A model in eight bits cannot be exported: what it lost would be lost twice."),
        mark("Export the model that it was made of; --type q8_0 writes eight bits for llama.cpp."),
    ),
    "E653": Message(
        mark("This model is in eight bits already."),
        mark("Compress the model that it was made of."),
    ),
    "E654": Message(
        mark("In eight bits this model is {speedup} times as fast on this machine, which is no gain: nothing was written."),
        mark("Keep the model as it is, or compress it where it is to run; distill makes a smaller one that is faster everywhere."),
    ),
    "E655": Message(
        mark("There is no model to serve."),
        mark("Name a model folder: diptych serve my-gpt."),
    ),
    "E656": Message(
        mark("There is no model called {name}. {hint}"),
        mark("GET /v1/models lists those that there are; left out, the first that can do it is asked."),
    ),
    "E657": Message(
        mark("{name} cannot {verb}."),
        mark("It can: {can}. GET /v1/models says what each model can do."),
    ),
    "E658": Message(
        mark("The body of the request is no JSON object: {problem}."),
        mark("Send a JSON object with the header Content-Type: application/json."),
    ),
    "E659": Message(
        mark("{key} is {value}, and that does not do: {problem}."),
        mark("Correct it; /docs says what may stand there."),
    ),
    "E660": Message(
        mark("Nothing here is called {key}. {hint}"),
        mark("Correct the name or leave it out; /docs lists them."),
    ),
    "E661": Message(
        mark("The prompt has {length} tokens and this model reads at most {limit}."),
        mark("Shorten it: what comes first matters least as a rule."),
    ),
    "E662": Message(
        mark("The server has {limit} requests at hand and takes no more for now."),
        mark("Try again in a moment."),
    ),
    "E663": Message(
        mark("You have {limit} requests open, which is as many as one client may have."),
        mark("Wait for one of them to be over."),
    ),
    "E664": Message(
        mark("The request was given up after {seconds} seconds."),
        mark("Ask for less at once, or have the server started with a longer --deadline."),
    ),
    "E665": Message(
        mark("The server is shutting down, or not ready yet."),
        mark("Try again in a moment."),
    ),
    "E666": Message(
        mark("A key is wanted, and there is none, or a wrong one."),
        mark("Send the header Authorization: Bearer KEY."),
    ),
    "E667": Message(
        mark('The server is not known as "{host}".'),
        mark("Use its address, or have it started with --allow-host {host}."),
    ),
    "E668": Message(
        mark("Pages from {origin} may not ask this server."),
        mark("Have it started with --allow-origin {origin}, if that is meant."),
    ),
    "E669": Message(
        mark("The request is larger than {limit} bytes."),
        mark("Send less at once, or have the server started with a larger --body-mb."),
    ),
    "E670": Message(
        mark("The body of the request did not arrive within {seconds} seconds."),
        mark("Send it again."),
    ),
    "E671": Message(
        mark("The form of the answer was not understood within {seconds} seconds."),
        mark("Make the schema or grammar simpler."),
    ),
    "E672": Message(
        mark("{key} is not done here, and what it asks for would be missing."),
        mark("Leave it out. A tool is called where tool_choice is required, or names it."),
    ),
    "E673": Message(
        mark("Two models are called {name}."),
        mark("Give one of them another name: --name NAME=FOLDER."),
    ),
    "E674": Message(
        mark("{what}: one request may have {limit} in all, and this one asks for {wanted}."),
        mark("Ask for less at once."),
    ),
    "E675": Message(
        mark("Something went wrong in the server ({kind}), which is not your fault."),
        mark("The server's log says what; please report it."),
    ),
    "E676": Message(
        mark("There is nothing at {path}."),
        mark("/docs lists what there is."),
    ),
    "E677": Message(
        mark("{path} does not know {method}."),
        mark("/docs says how it is asked."),
    ),
    # E7xx: evaluation and reports
    "E701": Message(
        mark("There is no report in {path}."),
        mark("A report is written when a model is trained with --out; name that folder."),
    ),
    "E702": Message(
        mark("There is no text to evaluate on."),
        mark("The data is empty, or cleaning left nothing of it; `diptych corpus stats` shows what it holds."),
    ),
    "E703": Message(
        mark("There are no pairs of sentences in {path}."),
        mark("Give JSON lines with sentence_good and sentence_bad, in a file, a folder, a zip or a tar."),
    ),
    "E704": Message(
        mark("{where}: a pair needs sentence_good and sentence_bad, and there is {fields}."),
        mark("Name the two sentences so."),
    ),
    "E705": Message(
        mark("The archive {path} cannot be read: {problem}."),
        mark("Fetch it again, or unpack it and name the folder."),
    ),
    "E706": Message(
        mark("Of {count} rows, {shots} stand in the prompt, and none is left to ask."),
        mark("Take fewer shots or more rows."),
    ),
    "E707": Message(
        mark("The positive class was named as {positive}, and the classes are {classes}."),
        mark("A positive class is one of exactly two; leave it out where there are more, or where texts have several labels."),
    ),
    "E708": Message(
        mark("Groups and noise are looked at for tasks with examples, noise for classification alone, and this is {task}."),
        mark("Leave out --by and --noise, or evaluate a model that was fine-tuned on a table."),
    ),
    # E8xx: explaining and auditing
    "E801": Message(
        mark("There is no text to explain."),
        mark("Give a text with at least one word."),
    ),
    "E802": Message(
        mark('There is no answer "{label}" to choose; there are {known}. {hint}'),
        mark("Name one of them, or none for the answer that the model gives."),
    ),
    "E803": Message(
        mark("The text has {length} tokens and this model reads at most {limit} at once."),
        mark("Explain the part that matters: an explanation is of one reading."),
    ),
    "E804": Message(
        mark('"{stretch}" does not stand in the text.'),
        mark("Copy it from the text, letter by letter."),
    ),
    "E805": Message(
        mark("These stretches cannot be taken away one by one: {stretch}."),
        mark("Mark one at least, and none that overlaps another."),
    ),
    "E806": Message(
        mark('There are no units called "{kind}".'),
        mark("Choose one of: {known}; or mark stretches of the text."),
    ),
    "E807": Message(
        mark("The model finds nothing in this text, so there is nothing to explain."),
        mark("Name a stretch, to learn why it is not marked: --of."),
    ),
    "E808": Message(
        mark('"{word}" is not one token of this model; it is {pieces}.'),
        mark("Ask about one of its pieces."),
    ),
    "E809": Message(
        mark("None of this model's heads gives an answer that can be explained: {heads}."),
        mark("Explain a model that classifies, marks, answers, writes or fills blanks."),
    ),
    "E810": Message(
        mark("This model ({family}) has no attention: it reads from one token to the next."),
        mark("Explain its answers by another method, for example shapley."),
    ),
    "E811": Message(
        mark("This model ({family}) is two stacks, whose attention cannot be put into one picture."),
        mark("Explain what it writes by another method, for example shapley."),
    ),
    "E812": Message(
        mark('There is no method "{method}". {hint}'),
        mark("diptych explain --help lists them."),
    ),
    "E813": Message(
        mark("There is no {name} {value}."),
        mark("They are counted from 0; the last one is {last}."),
    ),
    "E814": Message(
        mark("A simple model can stand beside one that chooses one label for a text, and this one does something else."),
        mark("Leave the data out."),
    ),
    "E815": Message(
        mark("The text has {length} pieces, and a page that shows every number holds at most {limit}."),
        mark("Take a sentence or two."),
    ),
    "E816": Message(
        mark("This kind of answer takes no {option}."),
        mark("Leave it out."),
    ),
    "E817": Message(
        mark("The gradient of this model ({family}) does not tell which word it owes: it reads a text twice."),
        mark("Explain its answers by another method, for example shapley."),
    ),
    "E818": Message(
        mark("It is not known what {model} was trained on: its folder names no data that is still there."),
        mark("Name texts that it was trained on and others that it was not: --members train.csv --others test.csv."),
    ),
    "E819": Message(
        mark("{count} {side} are too few to tell anything by; it takes {least}."),
        mark("Name more of them, or a larger share: --members, --others."),
    ),
    "E820": Message(
        mark("{path} holds no canaries: {problem}"),
        mark("Name the file that diptych audit plant wrote beside the planted table."),
    ),
    "E821": Message(
        mark("{reference} cannot stand beside {model}: it does another task, or has other labels."),
        mark("Name a model of the same task that was trained on other texts, or leave --reference out."),
    ),
    "E822": Message(
        mark("{path} has no column {column}, into which canaries would be planted."),
        mark("Its columns are {known}: --text names that of the text, --label that of the label."),
    ),
    "E840": Message(
        mark("Nothing here measures the bias of this model (heads: {heads})."),
        mark("Give labelled texts for a classifier, or say where CrowS-Pairs, WinoBias or WEAT lie, or who screens its texts."),
    ),
    "E841": Message(
        mark("{path} is not CrowS-Pairs: it needs the columns {columns} in every row."),
        mark("Give the file crows_pairs_anonymized.csv as its authors publish it."),
    ),
    "E842": Message(
        mark("{path} is not WinoBias: {problem} has no partner with as many lines."),
        mark("Give the folder with pro_stereotyped_type1.txt.dev and anti_stereotyped_type1.txt.dev."),
    ),
    "E843": Message(
        mark("{path} is no association test: {problem}."),
        mark(
            'Give a JSON file with "targ1", "targ2", "attr1" and "attr2", each with a "category" and "examples", or a folder of such files.'
        ),
    ),
    "E844": Message(
        mark('The screening classifier has no label "{labels}" (it has: {known}).'),
        mark("Name the labels of a classifier of offensive language that stand for offensive, one --offensive each."),
    ),
    "E845": Message(
        mark('There are no groups called "{axis}" to ask about (there are: {known}).{hint}'),
        mark("Take some of those."),
    ),
    "E846": Message(
        mark("{path} cannot be trained again: there is no recipe of a classifier with its data in it, or no labelled texts to compare on."),
        mark("Give a folder that `diptych finetune` wrote from a file, and labelled texts that it was not trained on."),
    ),
    "E847": Message(
        mark("This model does not choose one label for a text, so it has no confidence to calibrate (heads: {heads})."),
        mark("Give a classifier that `diptych finetune` made from a table with one label a row."),
    ),
    "E848": Message(
        mark("{count} rows with a label are too few to find a temperature on one half and judge it on the other."),
        mark("Give at least {fewest} rows that the model was not trained on."),
    ),
    "E849": Message(
        mark("{value} is no share of right answers to aim at."),
        mark("Give a number between 0 and 1, for example 0.95."),
    ),
    "E850": Message(
        mark("The text has {length:,} tokens and is read in {windows} windows, and this way of explaining looks at one."),
        mark('Take "shapley", "owen", "lime" or "occlusion", with sentences as units where there are many words.'),
    ),
    "E851": Message(
        mark("There is no text to follow, or no model to follow it through."),
        mark("Give a sentence and --model FOLDER; or --claims 30 for the page that compares kinds of nets."),
    ),
    # E9xx: the machine
    "E901": Message(
        mark("This needs the package {package}, which is not installed."),
        mark("Install it with: {command}"),
    ),
    "E902": Message(
        mark("No space is left on the device while writing {path}."),
        mark("Free some space or choose another folder; nothing that was complete before has been touched."),
    ),
    "E903": Message(
        mark("This machine has no device {device}; it has {here}."),
        mark("Leave it out, or take --set run.device=auto."),
    ),
    "E904": Message(
        mark("{path} cannot be read or written: {problem}."),
        mark("Check that you may do so there, and that no file stands where a folder should be."),
    ),
    "E905": Message(
        mark("The hub {endpoint} cannot be reached: {problem}."),
        mark(
            "Name a mirror with HF_ENDPOINT=https://…, or copy the model's folder from another machine: diptych pull FOLDER. "
            "minilm needs no network once its package is installed."
        ),
    ),
    "E906": Message(
        mark("{endpoint} gives {name} only to people whom it knows."),
        mark("Accept the model's terms on its page, make a token there and set HF_TOKEN to it."),
    ),
    "E907": Message(
        mark("{host} can be reached from other machines, and no key is asked for."),
        mark("Put keys into DIPTYCH_API_KEYS or --api-key-file, or listen on 127.0.0.1."),
    ),
    "E908": Message(
        mark("The server cannot listen on {host}, port {port}: {problem}."),
        mark("Name another port with --port, or 0 for any that is free."),
    ),
    "E909": Message(
        mark("The keys of {where} cannot be used: {problem}."),
        mark("A file has one key a line; make one with: openssl rand -hex 24"),
    ),
}
