// A Snowflake server for the lab: what a proxy relays to it by WebSocket it hands to an ORPort.
//
// Debian packages Snowflake's client and proxy, and the library of both, but not its server. This
// is the server's part on top of that library: the turbotunnel packets of a client's successive
// proxies feed one KCP connection, on which smux carries streams. It is a managed pluggable
// transport (pt-spec 1) without TLS, accounting or the client's address.
package main

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	pt "git.torproject.org/pluggable-transports/goptlib.git"
	"git.torproject.org/pluggable-transports/snowflake.git/v2/common/encapsulation"
	"git.torproject.org/pluggable-transports/snowflake.git/v2/common/turbotunnel"
	"git.torproject.org/pluggable-transports/snowflake.git/v2/common/websocketconn"
	"github.com/gorilla/websocket"
	"github.com/xtaci/kcp-go/v5"
	"github.com/xtaci/smux"
)

const (
	transport = "snowflake"
	// How long a client is remembered that no proxy relays for.
	clientTimeout = time.Minute
	// These two must be as in Snowflake's client, version 2.5.1 (client/lib/snowflake.go).
	windowPackets = 65535
	streamBytes   = 1 << 20
)

// queue has the packets of all clients, whichever proxies bring and take them.
type queue struct {
	*turbotunnel.QueuePacketConn
}

func (q queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		log.Printf("no WebSocket: %v", err)
		return
	}
	conn := websocketconn.New(ws)
	defer conn.Close()
	if err := q.relay(conn); err != nil && err != io.EOF {
		log.Printf("a proxy's connection ended: %v", err)
	}
}

// relay exchanges one client's packets with one proxy until that ends.
func (q queue) relay(conn io.ReadWriter) error {
	var token, id turbotunnel.ClientID
	if _, err := io.ReadFull(conn, token[:]); err != nil {
		return err
	}
	if !bytes.Equal(token[:], turbotunnel.Token[:]) {
		log.Printf("a client without turbotunnel")
		return nil
	}
	if _, err := io.ReadFull(conn, id[:]); err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go q.write(conn, id, ended)
	for {
		packet, err := encapsulation.ReadData(conn)
		if err != nil {
			return err
		}
		q.QueueIncoming(packet, id)
	}
}

func (q queue) write(conn io.Writer, id turbotunnel.ClientID, ended <-chan struct{}) {
	buffered := bufio.NewWriter(conn)
	for {
		select {
		case <-ended:
			return
		case packet, ok := <-q.OutgoingQueue(id):
			if !ok {
				return
			}
			if _, err := encapsulation.WriteData(buffered, packet); err != nil {
				return
			}
			if err := buffered.Flush(); err != nil {
				return
			}
		}
	}
}

func acceptSessions(listener *kcp.Listener, info *pt.ServerInfo) {
	for {
		conn, err := listener.AcceptKCP()
		if err != nil {
			log.Fatalf("KCP: %v", err)
		}
		conn.SetStreamMode(true)
		conn.SetWindowSize(windowPackets, windowPackets)
		conn.SetNoDelay(0, 0, 0, 1)
		config := smux.DefaultConfig()
		config.Version = 2
		config.KeepAliveTimeout = 10 * time.Minute
		config.MaxStreamBuffer = streamBytes
		session, err := smux.Server(conn, config)
		if err != nil {
			log.Fatalf("smux: %v", err)
		}
		go acceptStreams(session, info)
	}
}

func acceptStreams(session *smux.Session, info *pt.ServerInfo) {
	defer session.Close()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			log.Printf("a session ended: %v", err)
			return
		}
		go handToORPort(stream, info)
	}
}

func handToORPort(stream *smux.Stream, info *pt.ServerInfo) {
	defer stream.Close()
	or, err := pt.DialOr(info, "", transport)
	if err != nil {
		log.Printf("ORPort: %v", err)
		return
	}
	defer or.Close()
	done := make(chan struct{}, 2)
	for _, ends := range [][2]io.ReadWriter{{stream, or}, {or, stream}} {
		go func(to io.Writer, from io.Reader) {
			io.Copy(to, from)
			done <- struct{}{}
		}(ends[0], ends[1])
	}
	<-done
}

func main() {
	info, err := pt.ServerSetup(nil)
	if err != nil {
		os.Exit(1) // it has said why
	}
	for _, bind := range info.Bindaddrs {
		if bind.MethodName != transport {
			pt.SmethodError(bind.MethodName, "no such method")
			continue
		}
		listener, err := net.ListenTCP("tcp", bind.Addr)
		if err != nil {
			pt.SmethodError(bind.MethodName, err.Error())
			continue
		}
		packets := queue{turbotunnel.NewQueuePacketConn(listener.Addr(), clientTimeout)}
		sessions, err := kcp.ServeConn(nil, 0, 0, packets)
		if err != nil {
			log.Fatalf("KCP: %v", err)
		}
		go acceptSessions(sessions, &info)
		go func() { log.Fatalf("HTTP: %v", http.Serve(listener, packets)) }()
		pt.Smethod(transport, listener.Addr())
	}
	pt.SmethodsDone()
	if os.Getenv("TOR_PT_EXIT_ON_STDIN_CLOSE") == "1" {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	select {}
}
