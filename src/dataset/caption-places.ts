/** Whether a caption says where something is, or what light falls on it: by words for places and light, and by how sentences say it. */

const words = (text: string): readonly string[] => text.split(/\s+/).filter((word) => word !== "");

/** Words that name a place, one or two together written with an underscore. The common ones of English; plurals are found as well. */
const places = words(`
  outdoors indoors outside inside interior exterior landscape scenery panorama countryside skyline horizon background backdrop foreground
  room kitchen hall corridor lobby foyer vestibule atrium rotunda mezzanine chamber antechamber alcove attic loft basement cellar vault crypt
  closet pantry larder scullery nursery parlor parlour lounge den suite dorm dormitory boudoir garage carport 
  staircase stairs stairwell steps escalator elevator balcony porch veranda verandah terrace patio stoop doorstep portico colonnade arcade
  cloister rooftop roof threshold window wall floor ceiling fireplace hearth toilet lavatory sauna spa locker cubicle booth stall
  dungeon jail gaol prison penitentiary morgue infirmary hospital clinic pharmacy studio atelier laboratory lab office archive library
  school kindergarten college university academy campus seminary gym gymnasium dojo auditorium theater theatre stage cinema
  planetarium observatory museum gallery aquarium zoo aviary circus casino nightclub disco fairground
  church chapel cathedral basilica abbey convent monastery nunnery priory parsonage vicarage rectory temple shrine synagogue mosque pagoda
  altar nave sanctuary castle palace fortress fort citadel stronghold garrison barracks bunker trench rampart battlement stockade
  moat tower steeple belfry minaret turret ruin monument mausoleum tomb catacomb pyramid
  house home building architecture apartment condo condominium tenement skyscraper mansion manor villa chateau hacienda estate cottage
  bungalow cabin chalet lodge shack shanty hovel hut igloo yurt tepee teepee wigwam tent pavilion gazebo pergola arbor bower homestead
  hotel motel hostel inn tavern pub bar saloon cafe cafeteria canteen restaurant bistro diner pizzeria bakery brewery winery distillery
  grocery deli shop store boutique salon kiosk supermarket market bazaar mall factory foundry forge smithy refinery mill warehouse
  cannery tannery depot silo granary mine quarry pit harbor harbour port dock pier jetty wharf quay marina station platform
  bridge viaduct aqueduct tunnel underpass overpass airport airstrip hangar spaceship cockpit cab backseat
  hot_tub embassy consulate courthouse court capitol parliament bank post_office city_hall town_hall
  street road avenue boulevard lane alley path footpath towpath trail pavement curb crosswalk intersection junction roundabout
  cul-de-sac square plaza piazza quadrangle yard grounds plot stadium arena grandstand bleachers velodrome rink racetrack pool
  fountain pond reservoir dam weir canal ditch gutter sewer landfill dump wasteland parking_lot
  city town village hamlet suburb metropolis slum ghetto neighborhood neighbourhood township settlement resort camp encampment campsite
  outpost ranch farm plantation feedlot corral paddock stable barn byre sty pigsty coop kennel hutch burrow lair nest
  hayloft haystack shed conservatory
  park garden orchard vineyard arboretum field infield outfield ground meadow pasture lawn grass prairie savanna savannah steppe tundra taiga plain pampas outback
  badlands scrub paddy forest wood jungle grove thicket copse glade clearing undergrowth swamp marsh bog fen mire
  bayou moor heath mudflat tree bush hedge hedgerow flowerbed fence gate
  mountain hill hilltop hillock knoll mound foothill cliff crag precipice ledge canyon gorge ravine gulch gully arroyo valley vale dale dell glen
  basin crevasse chasm abyss cave cavern grotto volcano crater glacier plateau mesa butte ridge peak summit slope embankment dune
  desert oasis sand island isle islet atoll archipelago peninsula headland promontory bluff beach coast coastline shore shoreline sea ocean gulf
  fjord estuary delta inlet strait lagoon lake bay cove river riverbed stream creek brook rapids spring waterfall cascade cataract geyser
  water underwater seabed reef sandbar surf wave snow ice iceberg sky cloud space galaxy nebula moon planet stars rainforest rock
  boulder scree shingle mud sinkhole pitch bandstand houseboat berth cowshed woodshed toolshed terminal helipad viewpoint overlook
  lookout promenade esplanade memorial graveyard cemetery bonfire campfire carnival
  table desk bench sofa couch bed armchair bathtub shelf counter carpet
`);

/** What compounds end with that name a place: "schoolroom", "millpond", "waterfront", "rest area". */
const PLACE_END =
  /^\p{L}{3,}(?:room|house|hall|yard|land|field|side|(?<!a)way|walk|road|shop|store|market|port|park|court|bank|shore|front|pond|pool|scape|woods|mill|town|ground|grounds)$|^(?!the |its |his |her |this |that )\p{L}{3,} (?:area|zone|site|cent(?:re|er)|course|complex|reserve|spot|place)$/u;

/** Words that name a light, an hour or a weather that makes one. */
const lights = words(`
  light lights lighting lit sunlit sunset sunrise sunny sun sundown sunup sunbeam sunray backlit backlighting shadow shade shaded shady
  daybreak nightfall day night midnight evening morning forenoon afternoon noon midday dusk dawn dawning twilight gloaming
  dinnertime suppertime lunchtime bedtime daytime nighttime noontime rush_hour
  overcast cloudy foggy fog misty mist hazy haze rainy rain drizzle downpour stormy storm thunderstorm blizzard lightning snowy rainbow aurora
  neon candlelit candle lamplit lamp lantern torch torchlit firelit moonlit moonbeam moonray starlit spotlit flash strobe fluorescent
  glow glowing gleam gleaming glimmer shimmer glare radiance
  bright brightly dark darkness dim dimly gloomy gloom luminous golden_hour blue_hour rim_light soft_light hard_light high_key low_key chiaroscuro
  silhouette silhouetted
`);

/** What compounds end with that name a light: "torchlight", "earthshine", "phosphorescence". */
const LIGHT_END = /^\p{L}{3,}(?:light|shine|glow)$|(?:umin|fluor|phosphor|cand)escence$/u;

/** Words that only look like such a compound. */
const noCompound: ReadonlySet<string> = new Set(
  words(`
    mushroom bridegroom powerhouse marshall halyard garland overland preside alongside broadside underside downside backside offside flipside
    anyway headway leeway halfway midway norway sleepwalk moonwalk jaywalk cakewalk archbishop photoshop passport transport support rapport
    teleport comport purport spoilsport viewport databank piggybank affront confront forefront respond correspond carpool treadmill
    highlight shoeshine
  `),
);

/** Of these, those that name no place and no light of their own: any picture may have them. */
const general: ReadonlySet<string> = new Set(
  words(`
    background backdrop foreground indoors outdoors outside inside interior exterior landscape scenery panorama space light lights lighting lit
    bright brightly dark darkness shadow shadows shade shaded wall floor window
  `),
);

const isPlace = openWords(places, PLACE_END);
const isLight = openWords(lights, LIGHT_END);

/** @returns whether a word of one or two parts is in the list, in this form or its singular, or is built as `end` says */
function openWords(list: readonly string[], end: RegExp): (word: string) => boolean {
  const known = new Set(list.map((word) => word.replaceAll("_", " ")));
  return (word) =>
    [word, word.replace(/s$/, ""), word.replace(/es$/, "")].some(
      (form) => known.has(form) || (end.test(form) && !noCompound.has(form)),
    );
}

/** Whether a single word names a certain place or light. */
export function namesCertainPlace(word: string): boolean {
  return !word.includes(" ") && !general.has(word) && (isPlace(word) || isLight(word));
}

/** Prepositions that say where, before an article: "behind the barn" does, "of the barn" does not. */
const WHERE =
  /\b(?:in|on|at|by|near|beside|behind|under|underneath|beneath|below|above|over|inside|outside|within|across|along|among|amid|amidst|between|against|around|through|throughout|atop|before|beyond|off|onto|into|upon|next to|in front of|on top of|surrounded by)\s+(?:a|an|the|some|its|their|his|her|this|that|two|three|many|several)\s+([\p{L}' -]+?)(?=[.,;:!?()]|$|\s(?:of|with|and|while|as|to|for|from|that|which|who|in|on|at|by|near|under|behind|is|are|was|were|where|when|has|had|have)\s)/giu;

/** Who may wear what comes after "in a". */
const PERSON =
  /(?:^|[^\p{L}])(?:\d?\+?(?:girl|boy)s?|(?:wo)?m[ae]n|lady|ladies|gentlem[ae]n|person|people|child|children|kid|kids|baby|toddler|teenager|adult|figure|character|dancer|soldier|knight|king|queen|prince|princess|witch|wizard|priest|nun|monk|doctor|nurse|chef|worker|singer|model|bride|groom|actor|actress|warrior|pirate|samurai|maid|butler|elf|she|he)\s+in\s+(?:a|an|his|her|their)\s/iu;

/** Clothes: "in a red coat" says nothing of the place, and a house coat is none. */
const clothes: ReadonlySet<string> = new Set(
  words(`
    dress gown skirt shirt blouse sweater coat overcoat raincoat jacket suit tuxedo uniform costume outfit attire clothes clothing garment robe kimono cloak cape shawl
    apron vest trousers pants jeans shorts leggings stockings socks shoes boots sandals sneakers heels slippers hat cap helmet hood hoodie bonnet beret crown
    veil mask scarf tie bow gloves mittens glasses goggles sunglasses armor armour bikini swimsuit underwear pajamas nightgown bathrobe sari
    tunic toga turban headband wig poncho slacks pinafore kerchief diaper bodice sheath fedora corduroys jumpsuit overalls sweatshirt cardigan blazer kilt fur frock smock jersey breeches corset garb finery
  `),
);

/** What a person is made of, holds or does: "on her head", "in the style of" say nothing of the place. */
const noPlace: ReadonlySet<string> = new Set(
  words(`
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
  return someWord(line, isPlace) || /\bin front of\b|\bagainst (?:a|an|the)\b/.test(line) || saysWhere(text);
}

export function namesLight(line: string): boolean {
  return someWord(line, isLight);
}

/** Of a line's words, and of each two that follow each other; not one that only says what clothes are for, as in "house coat". */
function someWord(line: string, isOne: (word: string) => boolean): boolean {
  const parts = line.trim().split(" ");
  return parts.some((word, i) => {
    const next = parts[i + 1] ?? "";
    return (isOne(word) && !isClothing(next)) || isOne(`${word} ${next}`);
  });
}

function isClothing(word: string): boolean {
  return clothes.has(word) || clothes.has(`${word}s`) || WORN.test(word);
}

/** Whether a sentence has a preposition of place before something that can be one. */
function saysWhere(text: string): boolean {
  return [...text.matchAll(WHERE)].some(({ 0: all, 1: phrase = "", index }) => {
    const noun = phrase
      .trim()
      .toLowerCase()
      .split(/[\s-]+/);
    // What is known as a place was found by its name: "a man in a mackinaw" wears it, whatever it is.
    const isWorn = PERSON.test(text.slice(Math.max(0, index - 15), index) + all);
    return !isWorn && !noun.some((word) => noPlace.has(word) || noPlace.has(`${word}s`) || isClothing(word));
  });
}
