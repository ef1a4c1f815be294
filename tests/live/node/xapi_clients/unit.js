// One life of a cmi5 assignable unit in a browser, at the address of its launch, through @xapi/cmi5 (the global Cmi5).
async function life() {
  const unit = new Cmi5();
  await unit.initialize();
  const { activityId, registration, actor, fetch: address } = unit.getLaunchParameters();
  const state = { activityId, registration, agent: actor, stateId: "bookmark" };
  await unit.xapi.setState({ ...state, state: { slide: 7 } });
  const bookmark = (await unit.xapi.getState(state)).data;
  await unit.interactionTrueFalse("check", "price-first", true, true);
  await unit.complete();
  await unit.pass(0.9);
  await unit.terminate();
  const late = await unit.progress(50).then(
    (answer) => answer.status,
    (error) => error.response.status,
  );
  const again = await (await fetch(address, { method: "POST" })).json();
  const { launchMode, moveOn, returnURL } = unit.getLaunchData();
  return { bookmark, late, again: again["error-code"], launchMode, moveOn, returnURL };
}
