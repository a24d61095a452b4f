/** The words that captions are judged by. English, and the tag vocabularies of Danbooru and e621 that checkpoints were trained on. */

/** Tags that rate a picture instead of describing it. */
export const qualityTags: readonly RegExp[] = [
  /^score[ _]\d(?:[ _]up)?$/,
  /^(?:masterpiece|best quality|high quality|low quality|worst quality|absurdres|highres|lowres)$/,
  /^(?:very aesthetic|aesthetic|newest|recent|4k|8k|uhd|hdr|trending on artstation|award[- ]winning|ultra[- ]detailed)$/,
  /^source[ _](?:anime|furry|pony|cartoon)$/,
  /^rating[ _:](?:safe|questionable|explicit|general|sensitive)$/,
];

/** Of each group at most one can be true of one picture, where the subject is single. */
export const exclusiveGroups: readonly { readonly about: string; readonly tags: readonly string[] }[] = [
  { about: "how many girls", tags: ["1girl", "2girls", "3girls", "4girls", "5girls", "6+girls", "multiple girls"] },
  { about: "how many boys", tags: ["1boy", "2boys", "3boys", "4boys", "5boys", "6+boys", "multiple boys"] },
  {
    about: "alone or not",
    tags: ["solo", "2girls", "3girls", "multiple girls", "2boys", "3boys", "multiple boys", "couple", "crowd"],
  },
  { about: "the length of the hair", tags: ["short hair", "medium hair", "long hair", "very long hair", "bald"] },
  { about: "indoors or outdoors", tags: ["indoors", "outdoors"] },
  { about: "the time of day", tags: ["day", "night", "sunset", "sunrise"] },
  { about: "the eyes open or closed", tags: ["closed eyes", "open eyes", "wide-eyed"] },
  { about: "how much is shown", tags: ["close-up", "full body", "cowboy shot"] },
  {
    about: "the ground",
    tags: [
      "white background",
      "black background",
      "grey background",
      "blue background",
      "red background",
      "green background",
      "transparent background",
      "detailed background",
    ],
  },
  { about: "the posture", tags: ["standing", "sitting", "lying", "kneeling"] },
];

/**
 * Names of colours by what they are shades of: "azure eyes" and "blue eyes" may be one pair of eyes, "azure eyes" and "brown eyes" not.
 * Between two colours names belong to both: teal is a blue to one and a green to another.
 */
export const colourFamilies: ReadonlyMap<string, ReadonlySet<string>> = groupByWord({
  blue: "blue azure aqua cyan teal turquoise sapphire cobalt cerulean navy indigo ultramarine aquamarine cornflower sky royal steel denim lapis prussian powder violet periwinkle slate",
  green:
    "green emerald jade olive lime mint viridian chartreuse sage moss malachite verdant pea fern teal turquoise aqua aquamarine cyan khaki hazel",
  brown:
    "brown hazel chestnut chocolate mahogany brunette tan umber sepia bronze coffee sienna caramel cinnamon ochre ocher tawny russet beige fawn mocha walnut copper auburn rust amber taupe khaki maroon buff sandy",
  gold: "yellow gold golden amber blonde blond flaxen platinum saffron lemon straw canary mustard honey sandy buttercup ochre ocher topaz wheat maize buff chartreuse bronze orange",
  red: "red crimson scarlet ruby ginger auburn vermilion maroon burgundy rust copper carmine cherry wine claret cardinal oxblood brick titian magenta cerise coral rose fuchsia russet chestnut mahogany orange",
  pink: "pink rose magenta fuchsia fuschia salmon coral cerise blush peach apricot mauve carnation orchid red",
  purple:
    "purple violet lavender lilac mauve amethyst plum mulberry orchid heliotrope indigo magenta fuchsia fuschia burgundy wine cerise periwinkle",
  orange: "orange apricot peach tangerine carrot pumpkin amber rust copper coral salmon ginger saffron vermilion titian",
  black: "black jet ebony raven dark coal sable charcoal inky",
  pale: "white silver grey gray ash snowy ashen ivory chalky pearl platinum slate steel taupe charcoal",
});

function groupByWord(families: Readonly<Record<string, string>>): ReadonlyMap<string, ReadonlySet<string>> {
  const byWord = new Map<string, Set<string>>();
  for (const [family, words] of Object.entries(families)) {
    for (const word of words.split(" ")) byWord.set(word, (byWord.get(word) ?? new Set()).add(family));
  }
  return byWord;
}

/** Tags that are allowed beside one of their group: Danbooru has them for what is really mixed. */
export const mixedTags: readonly string[] = [
  "heterochromia",
  "multicolored hair",
  "two-tone hair",
  "gradient hair",
  "streaked hair",
  "multicolored eyes",
  "multiple views",
];

/** Words that are in any caption and say nothing of its own. */
export const emptyWords: ReadonlySet<string> = new Set(
  (
    "a an the of in on at with and or to from by for is are was were be as it its his her their this that there some one two three very " +
    "into over under near next behind front up down out off photo picture image style"
  ).split(" "),
);
