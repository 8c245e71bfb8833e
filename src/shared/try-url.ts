// URLs from text that may be none.

/**
 * The parsed URL, or undefined for text that is none.
 *
 * Not URL.canParse: on Node 20.20, once V8 has optimised the call, it answers false for hosts with Latin-1 characters
 * (`http://bücher.example/`), which `new URL` takes; seen after three million calls with other hosts.
 */
export function tryUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
