'use strict'
// The tool side of LTI 1.3 Advantage for the live tests: a page that shows what came with a launch and posts a score,
// names and roles, deep linking, dynamic registration. Listens on 127.0.0.1 only. Environment: PORT, DATABASE (on the
// PostgreSQL of this machine), KEY (encrypts keys at rest, signs cookies). `/control/` belongs to the tests.

const express = require('express')
const { Provider: lti } = require('ltijs')
const Database = require('ltijs-sequelize')

const { PORT, DATABASE, KEY } = process.env
const URL = `http://127.0.0.1:${PORT}`
const ITEMS = [
  { title: 'Negotiating a renewal', text: 'Practise the conversation', resource: 'renewal' },
  { title: 'Handling objections', text: 'Five short exercises', resource: 'objections' }
]

function escaped (value) {
  const names = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return String(value).replace(/[&<>"']/g, character => names[character])
}

function page (title, body) {
  const name = escaped(title)
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${name}</title><h1>${name}</h1>${body}`
}

function ltikField (response) {
  return `<input type="hidden" name="ltik" value="${escaped(response.locals.ltik)}">`
}

// A refusal by the platform is the tool's answer too: 502 with the platform's status and body, so that a test sees why.
function guarded (handler) {
  return async (request, response) => {
    try {
      await handler(request, response)
    } catch (error) {
      const refusal = error.response ? { status: error.response.statusCode, body: error.response.body } : undefined
      response.status(502).json({ error: error.message, platform: refusal })
    }
  }
}

function showLaunch (token, request, response) {
  const { resource, custom, endpoint } = token.platformContext
  const parameters = Object.entries(custom || {})
    .map(([name, value]) => `<dt>${escaped(name)}<dd>${escaped(value)}`)
  const form = `<form action="/score" method="post">${ltikField(response)}
    <label>Points of 100 <input name="scoreGiven" type="number" min="0" max="100" value="85"></label>
    <button>Complete</button></form>`
  response.send(page(resource?.title || 'Untitled', `<p id="person">${escaped(token.userInfo.name || token.user)}</p>
    <dl id="custom">${parameters.join('')}</dl>
    ${endpoint?.lineitem ? form : '<p>This launch carries no line item.</p>'}`))
}

async function sendScore (request, response) {
  const token = response.locals.token
  const score = await lti.Grade.submitScore(token, token.platformContext.endpoint.lineitem, {
    scoreGiven: Number(request.body.scoreGiven),
    scoreMaximum: 100,
    activityProgress: 'Completed',
    gradingProgress: 'FullyGraded'
  })
  response.send(page('Score sent', `<p id="sent">${escaped(score.scoreGiven)} of ${escaped(score.scoreMaximum)}</p>`))
}

async function listMembers (request, response) {
  const options = { pages: false, limit: request.query.limit }
  response.json(await lti.NamesAndRoles.getMembers(response.locals.token, options))
}

async function listResults (request, response) {
  const token = response.locals.token
  response.json((await lti.Grade.getScores(token, token.platformContext.endpoint.lineitem)).scores)
}

function showItems (token, request, response) {
  const choices = ITEMS.map((item, index) => `<button name="item" value="${index}">${escaped(item.title)}</button>`)
  const form = `<form action="/choose" method="post">${ltikField(response)}${choices.join('')}</form>`
  response.send(page('Choose content', form))
}

async function sendItem (request, response) {
  const { title, text, resource } = ITEMS[Number(request.body.item)]
  const lineItem = { label: title, scoreMaximum: 100 }
  const item = { type: 'ltiResourceLink', url: URL, title, text, custom: { resource }, lineItem }
  const options = { message: `${title} was added` }
  response.send(await lti.DeepLinking.createDeepLinkingForm(response.locals.token, [item], options))
}

async function registerPlatform (request, response) {
  const { name, issuer, clientId, authorizationEndpoint, tokenEndpoint, jwksUri } = request.body
  await lti.registerPlatform({
    name,
    url: issuer,
    clientId,
    authenticationEndpoint: authorizationEndpoint,
    accesstokenEndpoint: tokenEndpoint,
    authConfig: { method: 'JWK_SET', key: jwksUri }
  })
  response.status(201).end()
}

async function main () {
  const database = new Database(DATABASE, 'postgres', '', { host: '127.0.0.1', dialect: 'postgres', logging: false })
  lti.setup(KEY, { plugin: database }, { dynReg: { url: URL, name: 'Practice tool', autoActivate: true } })
  lti.onConnect(showLaunch)
  lti.onDeepLinking(showItems)
  lti.app.post('/score', guarded(sendScore))
  lti.app.get('/members', guarded(listMembers))
  lti.app.get('/results', guarded(listResults))
  lti.app.post('/choose', guarded(sendItem))
  await lti.deploy({ serverless: true, silent: true })

  const app = express()
  app.post('/control/platforms', express.json(), guarded(registerPlatform))
  app.use(lti.app)
  app.listen(Number(PORT), '127.0.0.1')
}

main()
