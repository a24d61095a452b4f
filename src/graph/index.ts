/** The public face of the waist: the graph, how it is written, and the passes over it. */
export * from "./build.ts";
export * from "./graph.ts";
