// Prints the messages of a channel until its END, with Go's standard library:
//
//	CONDUIT_SUBSCRIBE_TOKEN=... go run subscribe.go CHANNEL
//
// What was published before and is still kept comes first.  When the connection
// ends before the END (a restart, a network that went away), the next request
// goes on after the last event: nothing is lost, nothing comes twice.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type message struct {
	Sequence uint64          `json:"sequence"`
	Phase    string          `json:"phase"`
	Payload  json.RawMessage `json:"payload"`
}

type subscriber struct {
	channel  string
	position string        // ID of the last event
	wait     time.Duration // before the next try
	failures int
}

var errEnd = errors.New("the stream has ended")

func main() {
	s := subscriber{channel: os.Args[1], wait: time.Second}

	for s.failures < 10 {
		err := s.listen(func(m message) error {
			fmt.Println(m.Sequence, m.Phase, string(m.Payload))

			if m.Phase == "PHASE_END" {
				return errEnd
			}
			return nil
		})
		if err == errEnd {
			return
		}

		log.Printf("%v, trying again", err)
		s.failures++
		time.Sleep(s.wait)
	}

	log.Fatal("no server")
}

// Hands the messages of one response on, from the position.
func (s *subscriber) listen(handle func(message) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// a comment comes every 15 seconds: 45 without a byte are a dead connection

	const patience = 45 * time.Second

	silence := time.AfterFunc(patience, cancel)
	defer silence.Stop()

	request, err := http.NewRequestWithContext(ctx, "GET",
		env("CONDUIT_URL", "http://127.0.0.1:8080")+"/events/"+
			env("CONDUIT_ORG", "1")+"?channel_id="+s.channel, nil)
	if err != nil {
		log.Fatal(err)
	}

	request.Header.Set("Authorization",
		"Bearer "+os.Getenv("CONDUIT_SUBSCRIBE_TOKEN"))

	if s.position != "" {
		request.Header.Set("Last-Event-ID", s.position)
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()

	// 401, 403: get a new token, and go on from the position

	if response.StatusCode != 200 {
		text, _ := io.ReadAll(response.Body)
		log.Fatalf("%d %s", response.StatusCode, text)
	}

	s.failures = 0

	// a line may be longer than the 64 KB that a Scanner takes by itself

	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)

	event := map[string]string{}

	for lines.Scan() {
		silence.Reset(patience)

		if line := lines.Text(); line != "" {
			field, value, _ := strings.Cut(line, ":")

			// a comment is a field without a name
			event[field] = strings.TrimPrefix(value, " ")
			continue
		}

		if id := event["id"]; id != "" {
			s.position = id
		}

		if ms, err := strconv.Atoi(event["retry"]); err == nil {
			s.wait = time.Duration(ms) * time.Millisecond
		}

		switch event["event"] {
		case "stream":
			var m message

			if err := json.Unmarshal([]byte(event["data"]), &m); err != nil {
				return err
			}

			if err := handle(m); err != nil {
				return err
			}

		case "control":
			log.Print("control: ", event["data"])
		}

		event = map[string]string{}
	}

	if err := lines.Err(); err != nil {
		return err
	}

	return io.EOF
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}

	return otherwise
}
