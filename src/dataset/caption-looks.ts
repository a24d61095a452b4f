/** Whether a caption names how a picture is made: by words for techniques, movements and looks, and by how such names are built. */

const words = (text: string): readonly string[] =>
  text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => word.replaceAll("_", " "));

/** Names of looks, techniques and movements. Words for kinds of picture that say nothing of the look, such as "painting", are not here. */
const looks: readonly string[] = words(`
  anime_style manga_style cartoon_style comic_style pixel_art 8-bit 16-bit voxel_art
  watercolor watercolour water-color aquarelle oil_painting oil_on_canvas acrylic acrylic_painting gouache tempera fresco mural encaustic casein
  ink_drawing ink_wash pen_and_ink pen-and-ink ballpoint sumi-e wash_drawing brush_drawing pencil_drawing colored_pencil graphite charcoal crayon chalk
  pastel pastel_drawing pastels silverpoint conte grisaille sanguine sepia doodle scribble sketch line_art lineart line_drawing stick_figure
  woodcut woodblock wood_engraving engraving etching linocut aquatint mezzotint drypoint lithograph lithography silkscreen silk_screen serigraph monotype
  screen_print screenprint risograph letterpress gravure photogravure intaglio stencil stippling pointillism hatching crosshatching cross-hatching halftone
  impressionist impressionism post-impressionism expressionist expressionism cubist cubism surrealist surrealism fauvist fauvism futurist futurism
  dada dadaism constructivism suprematism minimalist minimalism minimal_art abstract_art abstract_expressionism abstraction pop_art op_art
  baroque rococo renaissance mannerism romanticism realism naturalism neoclassicism symbolism luminism pre-raphaelite bauhaus
  art_nouveau art_deco art_brut naive_art folk_art outsider_art action_painting avant-garde psychedelic gothic_art byzantine secession
  ukiyo-e nihonga sumi_e shan_shui
  low_poly 3d_render 3d_rendering cgi ray_tracing wireframe vector_art vector_graphics flat_design clip_art clipart cel_shading cel_shaded concept_art
  digital_painting digital_art computer_graphics illustration_style matte_painting photobash photorealistic photorealism hyperrealistic hyperrealism realistic_style
  isometric vaporwave synthwave cyberpunk_style steampunk_style chibi_style caricature silhouette_art
  monochrome greyscale grayscale black_and_white duotone cyanotype daguerreotype tintype polaroid film_grain lomography bokeh_photography
  stained_glass mosaic mosaic_style tapestry batik embroidery cross-stitch needlepoint collage montage photomontage decoupage papercut paper_cut origami claymation
  graffiti blueprint illuminated_manuscript miniature_painting icon_painting finger_painting spray_paint airbrush silhouette
  traditional_media painterly brush_strokes brushwork impasto sfumato chiaroscuro glitch_art ascii_art
`);

const list = new Set(looks);

/** "in the style of Vermeer", "Bauhaus style", "scroll painting", "copper engraving": names that are built so name a look, whatever else is in them. */
const BUILT = [
  /\bin the style of [\p{L} .'-]+/giu,
  /(?<![\p{L}-])(?!(?:the|a|an|same|this|that|one|own|her|his|their|hair|life|any|in|of|with|no)\b)[\p{L}-]+ style\b(?! (?:house|clothes|dress))/giu,
];
/** Two or three words that begin a tag or are all of it: "sand painting", "steel engraving of a mill"; not "a man painting". */
const KIND =
  /^(?!(?:a|an|the|his|her|person|man|woman|boy|girl|child|artist|cat|dog|is|are|face|body|one|this|my|by|of|photo|picture|famous|old|beautiful|large|small|people)\b)[\p{L}-]+(?: [\p{L}-]+)? (?:painting|drawing|engraving|etching|illustration|rendering|sketch|lithograph|woodcut)(?=$| of )/iu;
/** Movements are named after movements: "neo-expressionism", "analytical cubism". */
const MOVEMENT =
  /(?:(?!(?:in|of|the|a|an|and|with|on|like|by)\b)[\p{L}-]+ )?\b[\p{L}-]*(?:expression|romantic|real|classic|cub|impression|futur|natural|primitiv|minimal|symbol|modern)ism\b/giu;
/** "photolithograph", "semi-abstraction": a technique with something before it. */
const PREFIX = /^(?:neo|post|pre|proto|semi|photo|helio|chromo|xylo)-?(?=\p{L}{4})/u;

/**
 * Names of looks in a caption, each once.
 *
 * @param tags its parts between commas, lower case
 * @param line lower case, runs of other signs than letters, digits and hyphens as one space
 */
export function findLooks(tags: readonly string[], line: string): readonly string[] {
  const parts = line.trim().split(" ");
  const names: string[] = [];
  for (const tag of tags) {
    const kind = KIND.exec(tag)?.[0];
    if (kind !== undefined) names.push(kind);
  }
  for (const tag of tags)
    for (const pattern of [...BUILT, MOVEMENT]) for (const [name] of tag.matchAll(pattern)) names.push(name);
  for (let i = 0; i < parts.length; i++) {
    for (let length = 3; length > 0; length--) {
      const name = parts.slice(i, i + length).join(" ");
      if (isLook(name)) names.push(name);
    }
  }
  // Of "line engraving" and "engraving" the longer is said.
  return [...new Set(names)].filter(
    (name) => !names.some((other) => other.length > name.length && ` ${other} `.includes(` ${name} `)),
  );
}

function isLook(name: string): boolean {
  return [name, name.replaceAll("-", " "), name.replaceAll("-", ""), name.replace(PREFIX, "")].some(
    (form) => list.has(form) || list.has(form.replace(/s$/, "")),
  );
}

/** All of one word or more. */
export const lookNames: readonly string[] = looks;
