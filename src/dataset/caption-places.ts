/** Whether a caption says where something is, or what light falls on it: by words for places and light, and by how sentences say it. */

const words = (text: string): readonly string[] => text.split(/\s+/).filter((word) => word !== "");

/** Words that name a place, one or two together written with an underscore. The common ones of English; plurals are found as well. */
const places = words(`
  outdoors indoors outside inside interior exterior landscape scenery panorama countryside skyline cityscape seascape horizon
  room bedroom bathroom kitchen hallway hall corridor lobby attic basement cellar garage closet pantry nursery parlor lounge
  dining_room living_room ballroom throne_room dungeon vault staircase stairs stairway stairwell balcony porch veranda terrace patio rooftop
  doorway window wall floor ceiling fireplace studio workshop laboratory lab office classroom library gym auditorium theater theatre stage
  cinema museum gallery hospital clinic school college university campus church chapel cathedral temple shrine mosque abbey monastery
  castle palace fortress fort tower ruin mansion villa cottage cabin hut shack barn stable shed farm farmhouse farmyard greenhouse mill
  house home building apartment hotel motel inn tavern pub bar saloon cafe cafeteria restaurant diner bakery shop store boutique
  supermarket market marketplace bazaar mall warehouse factory mine quarry shipyard harbor harbour port dock pier jetty wharf marina
  lighthouse bridge tunnel station platform subway railway airport hangar runway spaceship cockpit
  street road highway motorway freeway avenue boulevard lane alley alleyway path pathway trail footpath sidewalk pavement crossroads square
  plaza courtyard yard backyard playground stadium arena court racetrack pool fountain
  city town village suburb downtown metropolis slum
  park garden orchard vineyard field meadow pasture lawn grass grassland prairie savanna savannah steppe tundra plain plains farmland cornfield
  forest woods woodland jungle rainforest grove thicket clearing swamp marsh bog wetland moor heath
  tree trees bush hedge flowerbed
  mountain hill hillside hilltop cliff canyon gorge ravine valley cave cavern volcano glacier plateau ridge peak summit slope dune desert oasis
  island beach coast coastline shore seashore shoreline seaside sea ocean lake pond lagoon bay cove river riverbank riverside stream creek brook
  waterfall water underwater seabed reef wave waves snow ice iceberg
  sky cloud clouds space galaxy nebula moon planet stars
  foyer vestibule dormitory infirmary schoolhouse schoolyard churchyard driveway roadway parking_lot inlet strait spring bluff
  graveyard cemetery battlefield camp campsite campfire zoo aquarium circus fairground carnival
  table desk bench sofa couch bed armchair bathtub shelf counter
  background backdrop foreground
`);

/** Words that name a light, an hour or a weather that makes one. */
const lights = words(`
  light lights lighting lit sunlight sunlit sunshine sunbeam sunset sunrise sunny sun sundown backlit backlighting backlight sidelight
  shadow shadows shade shaded shady daylight daytime daybreak nightfall day night nighttime midnight evening morning afternoon noon midday dusk dawn twilight
  overcast cloudy foggy fog misty mist hazy rainy rain stormy storm lightning snowy
  neon candlelight candlelit candle lamplight lamp lantern torchlight torch firelight moonlight moonlit moonbeam starlight starlit spotlight
  floodlight flashlight fluorescent flash strobe glow glowing gleam glare radiance
  bright brightly dark darkness dim dimly gloomy gloom luminous golden_hour blue_hour rim_light soft_light hard_light high_key low_key chiaroscuro
  silhouette silhouetted
`);

/** Of these, those that name no place and no light of their own: any picture may have them. */
const general: ReadonlySet<string> = new Set(
  words(`
    background backdrop foreground indoors outdoors outside inside interior exterior landscape scenery panorama space light lights lighting lit
    bright brightly dark darkness shadow shadows shade shaded wall floor window
  `),
);

const spacedPlaces = new Set(places.map((word) => word.replaceAll("_", " ")));
const spacedLights = new Set(lights.map((word) => word.replaceAll("_", " ")));

/** Single words that name a certain place or light. */
export const placeWords: ReadonlySet<string> = new Set(
  [...places, ...lights].filter((word) => !word.includes("_") && !general.has(word)),
);

/** Prepositions that say where, before an article: "behind the barn" does, "of the barn" does not. */
const WHERE =
  /\b(?:in|on|at|by|near|beside|behind|under|underneath|beneath|below|above|over|inside|outside|within|across|along|among|amid|amidst|between|against|around|through|throughout|atop|before|beyond|off|onto|into|upon|next to|in front of|on top of|surrounded by)\s+(?:a|an|the|some|its|their|his|her|this|that|two|three|many|several)\s+([\p{L}' -]+?)(?=[.,;:!?()]|$|\s(?:of|with|and|while|as|to|for|from|that|which|who|in|on|at|by|near|under|behind|is|are|was|were|where|when|has|had|have)\s)/giu;

/** What a person wears or is made of, holds or does: "in a red coat", "on her head", "in the style of" say nothing of the place. */
const NO_PLACE = new Set(
  words(`
    dress gown skirt shirt blouse sweater coat overcoat raincoat jacket suit tuxedo uniform costume outfit attire clothes clothing garment robe kimono cloak cape shawl
    apron vest trousers pants jeans shorts leggings stockings socks shoes boots sandals sneakers heels slippers hat cap helmet hood hoodie bonnet beret crown
    veil mask scarf tie bow gloves mittens glasses goggles sunglasses armor armour bikini swimsuit underwear pajamas nightgown bathrobe sari
    tunic toga turban headband wig poncho slacks pinafore kerchief diaper bodice sheath fedora corduroys jumpsuit overalls sweatshirt cardigan blazer kilt fur frock smock jersey breeches corset garb finery
    head face hand hands arm arms shoulder shoulders lap chest back neck foot feet leg legs knee knees mouth hair eyes eye finger fingers hip hips
    style manner shape form pose profile mood way fashion color colour row pair group line circle middle end left right top bottom side front
    camera viewer distance moment time year hurry air shade colors colours half rage dream sort kind
  `),
);

/** What is worn is often called after what it is like: "nightshirt", "greatcoat", "skullcap", "headgear". */
const WORN =
  /(?:dress|shirt|coat|cap|hat|boot|shoe|wear|gear|suit|skirt|cloth|trunk|belt|tie|jacket|robe|gown|sleeve|stocking|bonnet|vest)(?:e?s)?$/;

/** @param line lower case, runs of other signs as one space, a space at each end */
export function namesPlace(text: string, line: string): boolean {
  return hasWord(line, spacedPlaces) || /\bin front of\b|\bagainst (?:a|an|the)\b/.test(line) || saysWhere(text);
}

export function namesLight(line: string): boolean {
  return hasWord(line, spacedLights);
}

/** One or two words of the line, or their singular, are in the list. */
function hasWord(line: string, list: ReadonlySet<string>): boolean {
  const parts = line.trim().split(" ");
  return parts.some((word, i) => {
    const two = `${word} ${parts[i + 1] ?? ""}`;
    return list.has(word) || list.has(word.replace(/(?:es|s)$/, "")) || list.has(word.replace(/s$/, "")) || list.has(two);
  });
}

/** Whether a sentence has a preposition of place before something that can be one. */
function saysWhere(text: string): boolean {
  return [...text.matchAll(WHERE)].some(([, phrase = ""]) => {
    const noun = phrase
      .trim()
      .toLowerCase()
      .split(/[\s-]+/);
    return !noun.some((word) => NO_PLACE.has(word) || NO_PLACE.has(`${word}s`) || WORN.test(word));
  });
}
