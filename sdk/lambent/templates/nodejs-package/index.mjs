import ms from "ms";

export const handler = async (event) => ({ milliseconds: ms(event.time ?? "2 days") });
