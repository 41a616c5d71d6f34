// A relay on npm `ws` alone, as one would write it: a Set of clients for each topic.
import { WebSocketServer } from 'ws'

const topics = new Map()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })

server.on('connection', (client) => {
  const subscribed = new Set()
  client.on('message', (data) => {
    const { type, topic, payload, id } = JSON.parse(data)
    if (type === 'subscribe') {
      if (!topics.has(topic)) topics.set(topic, new Set())
      topics.get(topic).add(client)
      subscribed.add(topic)
    } else if (type === 'publish') {
      const text = JSON.stringify({ topic, payload })
      for (const other of topics.get(topic) ?? []) {
        if (other !== client) other.send(text)
      }
    }
    if (id !== undefined) client.send(JSON.stringify({ type: 'ok', id, topic }))
  })
  client.on('close', () => {
    for (const topic of subscribed) {
      const clients = topics.get(topic)
      clients.delete(client)
      if (clients.size === 0) topics.delete(topic)
    }
  })
})

server.on('listening', () => console.log(`ready listen=127.0.0.1:${server.address().port}`))
