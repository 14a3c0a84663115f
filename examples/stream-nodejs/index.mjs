import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

// A table of any length, of which no more than a few lines are in memory at a time.
function* table(rows) {
  yield "number,square\n";
  for (let number = 1; number <= rows; number++) yield `${number},${number * number}\n`;
}

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const asked = event.requestContext ? event.queryStringParameters ?? {} : event;
  if (event.requestContext) {
    stream = awslambda.HttpResponseStream.from(stream, {
      statusCode: 200,
      headers: { "content-type": "text/csv", "content-disposition": "attachment; filename=squares.csv" },
    });
  }
  const rows = Math.min(Number(asked.rows ?? 1000), 1_000_000);
  await pipeline(Readable.from(table(rows)), stream);
  console.log(`wrote ${rows} rows`);
});
