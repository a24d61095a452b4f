/** What a word does to a model's predictions, told against words that mean nothing. Pure. */

/** Made up, with no meaning in any language that a base may know: short ones are few tokens of a vocabulary, long ones many. */
const inventedWords = (
  "blorvex vyf quandrip grix bralixondu vostrel plud krimodax ohbz chemufratok zefnul yulp dwimpar juvo glimforzanu jolmuth kweb " +
  "flugnar mirb prandulovik pexovin pafi gwenthul skov drovinelspa snarbito ufim trovask vlen hypratolvex ulmekri worb brozden zirp " +
  "klurendomix yivrak zwyk xandrop qoxu mavistrokel tozb sworitfenda wusk tulvogramish nefq fimoq obux ruzk"
).split(" ");

/** The standard deviation of so many logarithms is known to a fifth of itself. */
const COUNT = 15;

/** Invented words with about as many tokens as `word`, so that its length alone tells it from none of them. */
export function chooseInvented(word: string, countTokens: (text: string) => number): readonly string[] {
  const own = countTokens(word);
  const apart = (invented: string): number => Math.abs(countTokens(invented) - own);
  return inventedWords
    .filter((invented) => invented !== word.toLowerCase())
    .sort((a, b) => apart(a) - apart(b))
    .slice(0, COUNT);
}

/** What was predicted of the same latents for a word and for invented ones. */
export interface Stray {
  /** Of the predictions for the invented words. */
  readonly mean: Float32Array;
  /** Squared distance from it of the word, then of each invented word, the same on average for words of one kind. */
  readonly squares: readonly number[];
}

export function measureStray(word: Float32Array, invented: readonly Float32Array[]): Stray {
  const count = invented.length;
  const mean = word.map((_, i) => invented.reduce((sum, values) => sum + (values[i] ?? 0), 0) / count);
  const square = (values: Float32Array): number => values.reduce((sum, x, i) => sum + (x - (mean[i] ?? 0)) ** 2, 0);
  // The mean is drawn towards the words that it is taken of, and away from no other.
  return {
    mean,
    squares: [(square(word) * count) / (count + 1), ...invented.map((values) => (square(values) * count) / (count - 1))],
  };
}

/** How far a word lies from invented ones. */
export interface WordEffect {
  /** Its distance over the geometric mean of theirs. */
  readonly times: number;
  /** The logarithm of that in standard deviations of theirs, as Student's t has it for one more of their kind. */
  readonly deviations: number;
}

/** @param squares as `measureStray` gives them, one list for each noise */
export function compareWithInvented(squares: readonly Stray["squares"][]): WordEffect {
  const [word = 0, ...invented] = (squares[0] ?? []).map((_, i) =>
    Math.log(Math.sqrt(squares.reduce((sum, list) => sum + (list[i] ?? 0), 0))),
  );
  const count = invented.length;
  const mean = invented.reduce((sum, x) => sum + x, 0) / count;
  const variance = invented.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (count - 1);
  return { times: Math.exp(word - mean), deviations: (word - mean) / Math.sqrt(variance * (1 + 1 / count)) };
}
