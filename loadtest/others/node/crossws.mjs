// A relay on npm `crossws` with its Node adapter: topics are the library's own.
import { createServer } from 'node:http'
import crossws from 'crossws/adapters/node'

const adapter = crossws({
  hooks: {
    message(peer, message) {
      const { type, topic, payload, id } = message.json()
      if (type === 'subscribe') peer.subscribe(topic)
      else if (type === 'publish') peer.publish(topic, JSON.stringify({ topic, payload }))
      if (id !== undefined) peer.send(JSON.stringify({ type: 'ok', id, topic }))
    },
  },
})

const server = createServer((_request, response) => response.writeHead(426).end())
server.on('upgrade', adapter.handleUpgrade)
server.listen(0, '127.0.0.1', () => console.log(`ready listen=127.0.0.1:${server.address().port}`))
