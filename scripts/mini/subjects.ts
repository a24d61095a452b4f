/** The subjects of mini's training pictures: emoji that a small model can learn and a person can recognise, by their Unicode names. */

/** How one subject is found in the sets, and what captions call it. */
export interface Subject {
  /** The emoji's name in Unicode's CLDR ("automobile"). */
  readonly unicodeName: string;
  /** What captions call it, in lower case ("car"). */
  readonly name: string;
  /** File name without its ending ("fire-engine"). */
  readonly slug: string;
  readonly group: string;
}

// Left of "=" stands the Unicode name, right of it the caption's word where that differs.
// Left out on purpose: skin tones, flags, keycaps, lettered buttons, clock faces, families, arrows, and pictures that differ in one small sign.
const groups: Readonly<Record<string, string>> = {
  faces: `grinning face; face with tears of joy; winking face; smiling face with halo; smiling face with heart-eyes;
    squinting face with tongue; money-mouth face; thinking face; zipper-mouth face; face with rolling eyes; sleeping face;
    face with medical mask; nauseated face; cowboy hat face; smiling face with sunglasses; nerd face; frowning face;
    astonished face; crying face; loudly crying face; face screaming in fear; enraged face; smiling face with horns;
    upside-down face; smiling face with smiling eyes=smiling face; clown face; ghost; skull; alien; robot; alien monster;
    pile of poo; jack-o-lantern; star-struck=star-struck face; partying face`,
  cats: `grinning cat; cat with tears of joy; smiling cat with heart-eyes; crying cat; pouting cat; see-no-evil monkey`,
  people: `baby; boy; girl; man; woman; old man; Santa Claus; princess; police officer; woman dancing; mermaid; vampire;
    mage=wizard; ninja`,
  body: `waving hand; victory hand; thumbs up; thumbs down; raised fist; flexed biceps; ear; nose; eyes; tongue; bone; tooth`,
  hearts: `red heart; yellow heart; green heart; blue heart; purple heart; broken heart; heart with arrow; kiss mark; love letter;
    collision`,
  animals: `monkey face; monkey; gorilla; dog face; poodle; wolf; fox; cat face; cat; lion; tiger face; tiger; horse face; horse;
    unicorn; deer; cow face; cow; pig face; pig; ewe=sheep; camel; elephant; rhinoceros; mouse face; mouse; hamster;
    rabbit face; rabbit; bat; bear; koala; panda; chicken; baby chick; bird; penguin; eagle; duck; owl; frog; crocodile;
    turtle; lizard; snake; dragon face; spouting whale; dolphin; fish; tropical fish; blowfish; shark; octopus; spiral shell;
    crab; snail; butterfly; bug=caterpillar; honeybee; lady beetle=ladybug; spider; scorpion; giraffe; zebra; llama;
    kangaroo; hippopotamus; hedgehog; flamingo; peacock; parrot; T-Rex=t-rex dinosaur; sauropod=long-necked dinosaur;
    lobster; polar bear`,
  plants: `bouquet; cherry blossom; rose; hibiscus; sunflower; tulip; seedling; evergreen tree; deciduous tree; palm tree; cactus;
    herb; four leaf clover; maple leaf; mushroom; Christmas tree`,
  food: `grapes; watermelon; tangerine; lemon; banana; pineapple; red apple; green apple; pear; peach; cherries; strawberry;
    tomato; avocado; eggplant; carrot; ear of corn; hot pepper; cucumber; bread; croissant; baguette bread; pancakes;
    cheese wedge; poultry leg; hamburger; french fries; pizza; hot dog; taco; egg; popcorn; rice ball; steaming bowl;
    spaghetti; sushi; fried shrimp; dango; soft ice cream; shaved ice; ice cream; doughnut; cookie; birthday cake;
    chocolate bar; candy; lollipop; honey pot; glass of milk; hot beverage; bottle with popping cork; wine glass;
    cocktail glass; beer mug; fork and knife; spoon; kitchen knife; broccoli; pretzel; waffle; sandwich; cupcake;
    blueberries; bubble tea; teapot`,
  places: `globe showing Americas=globe; snow-capped mountain; volcano; mount fuji; beach with umbrella; desert island; house;
    office building; hospital; school; factory; castle; Tokyo tower; Statue of Liberty; church; shinto shrine; tent;
    cityscape; ferris wheel; circus tent; ringed planet`,
  vehicles: `locomotive; tram; bus; ambulance; fire engine; police car; taxi; automobile=car; delivery truck; tractor; racing car;
    motorcycle; motor scooter; bicycle; kick scooter; fuel pump; vertical traffic light; anchor; sailboat; speedboat;
    passenger ship; ship; airplane; helicopter; satellite; rocket; flying saucer`,
  sky: `full moon; crescent moon; full moon face; sun; sun with face; star; shooting star; cloud; sun behind cloud;
    cloud with lightning and rain; cloud with rain; tornado; rainbow; umbrella; high voltage=lightning bolt; snowflake;
    snowman; fire; droplet; water wave; thermometer; hourglass done=hourglass; watch; alarm clock`,
  activities: `fireworks; sparkles; balloon; party popper; ribbon; wrapped gift; trophy; sports medal; soccer ball; baseball;
    basketball; volleyball; american football; tennis; bowling; ping pong; boxing glove; ice skate; fishing pole;
    pool 8 ball; crystal ball; video game; slot machine; game die; spade suit; heart suit; diamond suit; club suit;
    artist palette; bullseye; kite; teddy bear; puzzle piece`,
  objects: `glasses; sunglasses; necktie; t-shirt; jeans; dress; handbag; backpack; running shoe; high-heeled shoe; crown;
    woman’s hat; top hat; graduation cap; lipstick; ring; gem stone; megaphone; bell; musical note; microphone; headphone;
    radio; saxophone; trumpet; guitar; violin; drum; mobile phone; telephone; battery; laptop; desktop computer;
    computer mouse; floppy disk; movie camera; television; camera; magnifying glass tilted left=magnifying glass; candle;
    light bulb; flashlight; closed book; open book; books; scroll; money bag; envelope; package; pencil; fountain pen;
    paintbrush; crayon; briefcase; calendar; triangular ruler; scissors; locked; key; hammer; dagger; crossed swords; bomb;
    bow and arrow; shield; wrench; gear; balance scale; microscope; telescope; syringe; door; bed; toilet; bathtub; axe;
    magnet; broom; gloves`,
};

/** A lower-case name as a file name: letters, digits and single hyphens. */
export function toSlug(name: string): string {
  return name
    .toLowerCase()
    .replace(/[’']/g, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}

function parseGroup(group: string, text: string): Subject[] {
  return text.split(";").map((entry) => {
    const [unicodeName = "", caption] = entry.trim().split("=");
    const name = (caption ?? unicodeName).toLowerCase().replaceAll("’", "'");
    return { unicodeName, name, slug: toSlug(name), group };
  });
}

/** Every subject, in a fixed order. */
export const subjects: readonly Subject[] = Object.entries(groups).flatMap(([group, text]) => parseGroup(group, text));
