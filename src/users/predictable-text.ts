/** As they lie below one another, so that a step down is a step of ten. */
const KEYBOARD = "1234567890qwertyuiopasdfghjkl;zxcvbnm,./";

/**
 * What of a text is not foreseen by what stands before it. It counts once what is repeated, and leaves out the
 * characters that go on in the step of the two before them, by their code points or on a keyboard:
 * `abcabcabcabc` comes to `ab`, `123456789012345` to `12`, `qwertyuiop` to `qw`, `aaaaaaaa` to `a`.
 */
export function unforeseen(text: string): string {
  const characters = [...repeated(text)];
  return characters
    .filter((_, at) => at < 2 || !goesOn(characters[at - 2], characters[at - 1], characters[at]))
    .join("");
}

/** The shortest text that, written again and again, makes this one; it may be cut off in the last round. */
export function repeated(text: string): string {
  const characters = [...text];
  // Knuth, Morris and Pratt: the longest end of each beginning that is also its beginning.
  const borders: number[] = [0];
  for (let at = 1, border = 0; at < characters.length; at++) {
    while (border > 0 && characters[at] !== characters[border]) {
      border = borders[border - 1] ?? 0;
    }
    border += characters[at] === characters[border] ? 1 : 0;
    borders.push(border);
  }
  return characters.slice(0, characters.length - (borders.at(-1) ?? 0)).join("");
}

function goesOn(first = "", second = "", third = ""): boolean {
  const sameStep = ([one = 0, two = 0, three = 0]: readonly number[]) => three - two === two - one;
  const keys = [first, second, third].map((character) => KEYBOARD.indexOf(character));
  const codes = [first, second, third].map((character) => character.codePointAt(0) ?? 0);
  return sameStep(codes) || (!keys.includes(-1) && sameStep(keys));
}
