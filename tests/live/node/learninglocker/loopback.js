'use strict'
// Loaded before the server (`node --require`): it has no setting for the address and would listen on all interfaces.

const { Server } = require('net')

const listen = Server.prototype.listen

Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, port, '127.0.0.1', ...rest)
}
