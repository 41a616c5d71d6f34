// Socket.IO with its Redis adapter, whose address is the first argument: topics are rooms.
import { createServer } from 'node:http'
import { createAdapter } from '@socket.io/redis-adapter'
import { createClient } from 'redis'
import { Server } from 'socket.io'

const publishing = createClient({ url: process.argv[2] })
const subscribing = publishing.duplicate()
// Without a listener for it an error would end the process; the client connects again by itself.
for (const client of [publishing, subscribing]) client.on('error', (error) => console.error(error))
await Promise.all([publishing.connect(), subscribing.connect()])

const server = createServer()
const io = new Server(server, { adapter: createAdapter(publishing, subscribing) })

io.on('connection', (socket) => {
  socket.on('subscribe', async (topic, done) => {
    await socket.join(topic)
    done?.()
  })
  socket.on('publish', (topic, payload, done) => {
    socket.to(topic).emit('message', topic, payload)
    done?.()
  })
})

server.listen(0, '127.0.0.1', () => console.log(`ready listen=127.0.0.1:${server.address().port}`))
