// A program that uses every resource through @xapi/xapi: ENDPOINT KEY SECRET VERSION. Prints JSON of what came back.
const XAPI = require("@xapi/xapi");

async function main(endpoint, key, secret, version) {
  // By fetch, because with axios on Node.js the Content-Type of attachments is lost on the way.
  const client = new XAPI({ endpoint, auth: XAPI.toBasicAuth(key, secret), version, adapter: "fetch" });
  const agent = { objectType: "Agent", account: { homePage: "https://people.example.com", name: "ana" } };
  const activityId = `https://learn.example.com/course/${version}`;
  const statement = {
    actor: agent,
    verb: XAPI.Verbs.COMPLETED,
    object: { objectType: "Activity", id: activityId, definition: { name: { en: "Pricing" } } },
  };
  const [first] = (await client.sendStatement({ statement })).data;
  const [second] = (await client.sendStatements({ statements: [{ ...statement, verb: XAPI.Verbs.PASSED }] })).data;
  const attached = await client.sendStatement({
    statement: {
      ...statement,
      attachments: [
        {
          usageType: "https://example.com/certificate",
          display: { en: "Certificate" },
          contentType: "text/plain",
          length: 4,
          sha2: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        },
      ],
    },
    attachments: [new TextEncoder().encode("test").buffer],
  });
  await client.voidStatement({ actor: agent, statementId: second });

  const read = (await client.getStatement({ statementId: first })).data;
  const page = (await client.getStatements({ agent, activity: activityId, limit: 1 })).data;
  const rest = (await client.getMoreStatements({ more: page.more })).data;
  const voided = (await client.getVoidedStatement({ voidedStatementId: second })).data;

  const state = { agent, activityId, stateId: "bookmark" };
  await client.setState({ ...state, state: { slide: 1 } });
  await client.createState({ ...state, state: { seen: true } });
  const merged = (await client.getState(state)).data;
  const states = (await client.getStates({ agent, activityId })).data;
  await client.deleteState(state);
  const left = (await client.getStates({ agent, activityId })).data;

  const hints = { activityId, profileId: "hints" };
  await client.createActivityProfile({ ...hints, profile: { level: 1 } });
  const hinted = await client.getActivityProfile(hints);
  await client.setActivityProfile({ ...hints, profile: { level: 2 }, etag: hinted.headers.etag, matchHeader: "If-Match" });
  const habits = { agent, profileId: "habits" };
  await client.createAgentProfile({ ...habits, profile: { audio: "off" } });

  console.log(
    JSON.stringify({
      ids: [first, second, attached.data[0]],
      read: read.id,
      pages: [page.statements.length, rest.statements.length],
      voided: voided.id,
      state: [merged, states, left],
      profile: (await client.getActivityProfile(hints)).data,
      profiles: (await client.getAgentProfiles({ agent })).data,
      person: (await client.getAgent({ agent })).data.objectType,
      activity: (await client.getActivity({ activityId })).data.definition.name.en,
      versions: (await client.getAbout()).data.version,
    }),
  );
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.response ? [error.config.method, error.config.url, error.response.status, error.response.data] : error);
  process.exit(1);
});
