// A relay on Bun's own server, whose WebSockets and topics are uWebSockets: run it with `bun`.
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response(null, { status: 426 })
  },
  websocket: {
    message(client, data) {
      const { type, topic, payload, id } = JSON.parse(data)
      if (type === 'subscribe') client.subscribe(topic)
      else if (type === 'publish') client.publish(topic, JSON.stringify({ topic, payload }))
      if (id !== undefined) client.send(JSON.stringify({ type: 'ok', id, topic }))
    },
  },
})

console.log(`ready listen=127.0.0.1:${server.port}`)
