export const handler = async (event, context) => {
  const name = event.name ?? "world";
  console.log(`greeting ${name}, ${context.getRemainingTimeInMillis()} ms left`);
  return { greeting: `${process.env.GREETING}, ${name}!`, requestId: context.awsRequestId };
};
