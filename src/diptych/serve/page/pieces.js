/**
 * The pieces of a text that a model wrote, one a token: its probability, and what else it might have been.
 *
 * A token may be a part of a character. Such tokens are one piece together, as probable as all of them in turn, and without
 * alternatives: half of a character is nothing that a person could choose.
 */

/** Collects the parts of a completion as they arrive. */
export function collector() {
  let text = "";
  const tokens = [];
  return {
    /** Add `choices[0]` of a part. */
    add(choice) {
      text += choice.text ?? "";
      tokens.push(...tokensOf(choice.logprobs));
    },
    pieces: () => piecesOf(text, tokens),
  };
}

/** OpenAI's parallel lists, and our `top_texts`, as one list of `{offset, logprob, others}`. */
function tokensOf(logprobs) {
  return (logprobs?.tokens ?? []).map((_, place) => ({
    offset: logprobs.text_offset[place],
    logprob: logprobs.token_logprobs[place],
    others: othersOf(logprobs, place),
  }));
}

/** What else might have stood there, with the text that it would have added; half of a character adds none. */
function othersOf({ top_logprobs: chances, top_texts: texts }, place) {
  const others = Object.entries(chances?.[place] ?? {}).map(([name, logprob]) => ({ text: texts?.[place]?.[name] ?? "", logprob }));
  return others.filter((other) => other.text).sort((one, other) => other.logprob - one.logprob);
}

/**
 * Lay tokens along a text by where they begin, counted in code points from where the first one does.
 *
 * Returns `[{text, logprob, others}]`, which joined are the text. What no token accounts for has the log-probability null.
 */
export function piecesOf(text, tokens) {
  const points = Array.from(text);
  const start = tokens.length ? tokens[0].offset : 0;
  const pieces = [];
  let together = [];
  for (const [number, token] of tokens.entries()) {
    together.push(token);
    const begin = together[0].offset - start;
    const end = number + 1 < tokens.length ? Math.min(tokens[number + 1].offset - start, points.length) : points.length;
    // A token that ends where it begins is the first part of a character, or one whose text is held back or not shown.
    if (end <= begin) continue;
    pieces.push(pieceOf(points.slice(begin, end).join(""), together));
    together = [];
  }
  return tokens.length || !text ? pieces : [{ text, logprob: null, others: [] }];
}

function pieceOf(text, together) {
  const logprob = together.reduce((sum, token) => sum + token.logprob, 0);
  return { text, logprob, others: together.length === 1 ? together[0].others : [] };
}
