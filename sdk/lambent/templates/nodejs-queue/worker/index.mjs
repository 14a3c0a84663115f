// Works on jobs from a queue: {"job": …}; one with "fail": true fails, and only that one comes back.
export const handler = async (event) => {
  const batchItemFailures = [];
  for (const { body, messageId } of event.Records) {
    try {
      work(JSON.parse(body));
    } catch (error) {
      console.log(`${messageId} failed: ${error.message}`);
      batchItemFailures.push({ itemIdentifier: messageId });
    }
  }
  return { batchItemFailures };
};

function work({ job, fail }) {
  if (fail) throw new Error(`job ${job} cannot be done`);
  console.log(`job ${job} is done`);
}
