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
 * Names of colours by what they are shades of, in steps of hue: "azure eyes" and "blue eyes" may be one pair of eyes, "azure eyes" and
 * "brown eyes" not, nor are teal and indigo, though both are blues. Between two colours names belong to both: teal is a blue to one and a
 * green to another.
 */
export const colourFamilies: ReadonlyMap<string, ReadonlySet<string>> = groupByWord({
  turquoise:
    "blue green teal turquoise aqua aquamarine cyan azure cerulean sky powder seafoam celadon emerald jade viridian mint malachite celeste peacock verdigris lagoon ocean sea caribbean spruce pool tiffany",
  blue: "blue azure sapphire cobalt cerulean navy ultramarine cornflower sky royal steel denim lapis lazuli lazuline prussian powder slate indigo periwinkle peacock celeste midnight electric oxford ocean sea marine cadet bluebell hyacinth larkspur delft egyptian admiral blueberry zaffre smalt jean arctic lagoon ice icy",
  violet:
    "blue purple violet indigo periwinkle ultramarine navy royal midnight lavender amethyst heliotrope wisteria iris hyacinth bluebell blueberry bluebonnet larkspur crocus pansy",
  green:
    "green emerald jade olive lime mint viridian chartreuse sage moss malachite verdant pea fern khaki hazel celadon seafoam avocado pistachio grass forest bottle apple spruce shamrock asparagus pine juniper ivy clover basil kiwi artichoke pear hunter kelly army laurel myrtle algae seaweed bamboo cactus cucumber spinach parsley eucalyptus willow harlequin fir leaf lawn meadow jungle camo neon",
  brown:
    "brown hazel chestnut chocolate mahogany brunette tan umber sepia bronze coffee sienna caramel cinnamon ochre ocher tawny russet beige fawn mocha walnut copper auburn rust amber taupe khaki maroon buff sandy topaz bistre espresso cocoa nutmeg toffee hickory oak ecru puce burgundy leather clay camel desert earth mud soil dirt wood driftwood acorn almond pecan peanut penny cigar tobacco cedar redwood rosewood teak mink otter chamois saddle rawhide cappuccino latte fudge brownie gingerbread truffle clove burlywood peru terracotta bole liver raisin prune cordovan seal sorrel fallow drab dun brass mushroom",
  gold: "yellow gold golden amber blonde blond flaxen platinum saffron lemon straw canary mustard honey sandy buttercup ochre ocher topaz wheat maize buff chartreuse bronze orange gamboge citrine butter cream sand ecru sulphur sulfur champagne vanilla dandelion goldenrod camel desert banana corn cornsilk curry daffodil primrose sunflower sunshine sunny daisy marigold mimosa pineapple custard dune sandstone brass hay jasmine ale aureolin jonquil khaki biscuit mango almond chamois fallow",
  red: "red crimson scarlet ruby ginger auburn vermilion vermillion maroon burgundy rust copper carmine cherry wine claret cardinal oxblood brick titian magenta cerise coral rose fuchsia russet chestnut mahogany orange sanguine solferino garnet carnelian raspberry strawberry blood bordeaux amaranth puce tomato poppy flame berry rouge clay lava cranberry currant chili paprika beet candy firebrick fire rosewood redwood cinnabar lobster lipstick cochineal alizarin madder sangria rhubarb pomegranate ruddy blush watermelon terracotta cinnamon cayenne cordovan",
  pink: "pink rose magenta fuchsia fuschia salmon coral cerise blush peach apricot mauve carnation orchid red solferino raspberry strawberry bubblegum flamingo amaranth puce watermelon rouge berry taffy lipstick peony shrimp punch guava lotus azalea camellia begonia petunia thistle cranberry",
  purple:
    "purple violet lavender lilac mauve amethyst plum mulberry orchid heliotrope indigo magenta fuchsia fuschia burgundy wine cerise periwinkle solferino eggplant aubergine grape wisteria thistle iris raspberry puce berry boysenberry blackberry blueberry byzantium byzantine tyrian fig prune raisin jam beet beetroot sangria hyacinth crocus pansy imperial royal heather phlox cranberry petunia",
  orange:
    "orange apricot peach tangerine carrot pumpkin amber rust copper coral salmon ginger saffron vermilion vermillion titian gamboge tomato flame persimmon mandarin clay terracotta marigold butternut squash cantaloupe melon mango papaya nectarine kumquat clementine yam cayenne fire sunset tiger fox cinnamon goldenrod lava paprika shrimp guava ochre sienna tawny brick cinnabar",
  black: "black jet ebony raven coal sable charcoal inky onyx obsidian dark ink pitch soot crow licorice tar",
  pale: "white silver grey gray ash snowy ashen ivory chalky pearl platinum slate steel taupe charcoal gunmetal smoke smoky cream alabaster pewter lead iron stone cloud fog dove snow milk milky lily bone frost frosty ice icy opal chrome nickel tin battleship almond",
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
