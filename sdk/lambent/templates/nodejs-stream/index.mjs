import { setTimeout as sleep } from "node:timers/promises";

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event.requestContext) {
    // Called by its URL: status and headers come first.
    stream = awslambda.HttpResponseStream.from(stream, {
      statusCode: 200,
      headers: { "content-type": "text/plain; charset=utf-8" },
    });
  }
  for (let number = 1; number <= 5; number++) {
    stream.write(`${number}\n`);
    await sleep(500);
  }
  stream.end();
});
