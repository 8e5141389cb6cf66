/** Server-sent events, read from the body of a response: JSON after `data:`, until `[DONE]`. */

/** The JSON of each event in turn. */
export async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        // A line without `data:` is a comment that keeps the connection open, or an empty line between events.
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        yield JSON.parse(data);
      }
    }
  } finally {
    // Whoever stops reading stops the writing: the server sees the connection close.
    reader.cancel().catch(() => {});
  }
}
