export const handler = async (event, context) => {
  console.log(`request ${context.awsRequestId}:`, event);
  return { greeting: `Hello, ${event.name ?? "world"}!` };
};
