export const handler = async (event) => {
  const { method } = event.requestContext.http;
  return {
    statusCode: 200,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      method,
      path: event.rawPath,
      query: event.queryStringParameters ?? {},
      body: event.body ?? null,
    }),
  };
};
