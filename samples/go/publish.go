// Publishes a text to a channel, word by word, with Go's standard library:
//
//	CONDUIT_SECRET_FILE=publish.secret go run publish.go CHANNEL
//
// CHANNEL is a UUID: the address of one stream.  Take a new one for each run
// (one answer, one job).
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var (
	url    = env("CONDUIT_URL", "http://127.0.0.1:8080")
	org    = env("CONDUIT_ORG", "1")
	secret = readSecret()
	client = http.Client{Timeout: 5 * time.Second}
)

func main() {
	channel := os.Args[1]

	publish(channel, "START", nil)

	for _, word := range strings.Fields("Every word arrives as it is published.") {
		publish(channel, "DELTA", map[string]any{"value": word + " "})
	}

	publish(channel, "END", nil) // readers stop here
}

// Publishes one message.
//
// The server gives the message its sequence.  Its ID is made here, once: a
// request that is sent again may store the message twice, and readers tell by
// the ID.  With "conduit_publish_idempotency" on, the key prevents it in the
// first place.
func publish(channel, phase string, payload any) {
	id := newUUID()

	body, err := json.Marshal(map[string]any{
		"message_id": id, "phase": phase, "payload": payload,
	})
	if err != nil {
		log.Fatal(err)
	}

	wait := 0

	for attempt := 0; attempt < 10; attempt++ {
		time.Sleep(time.Duration(wait) * time.Second)
		wait = 1

		var status int
		var text string
		var retryAfter string

		status, text, retryAfter, err = post(channel, id, body)
		if err != nil {
			continue // no connection, no answer
		}

		if status == 200 {
			fmt.Println(text)
			return
		}

		err = fmt.Errorf("%d %s", status, text)

		// these pass: over the rate, Redis is away, Redis is slow

		if status != 429 && status != 503 && status != 504 {
			break
		}

		if n, e := strconv.Atoi(retryAfter); e == nil {
			wait = n
		}
	}

	log.Fatal("not published: ", err)
}

func post(channel, id string, body []byte) (int, string, string, error) {
	request, err := http.NewRequest("POST", url+"/publish/"+org+"/"+channel,
		bytes.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}

	request.Header.Set("Authorization", "Bearer "+token())
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", id)

	response, err := client.Do(request)
	if err != nil {
		return 0, "", "", err
	}
	defer response.Body.Close()

	text, err := io.ReadAll(response.Body)

	return response.StatusCode, string(text),
		response.Header.Get("Retry-After"), err
}

// Publishers sign their own tokens; the secret never leaves the servers.
func token() string {
	encode := base64.RawURLEncoding.EncodeToString

	claims, _ := json.Marshal(map[string]any{
		"iss":    "sentry",         // conduit_publish_jwt_issuer
		"aud":    "conduit",        // conduit_publish_jwt_audience
		"sub":    "sample",         // who publishes: any string
		"org_id": json.Number(org), // for conduit_publish_org_claim
		"exp":    time.Now().Unix() + 600,
	})

	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))

	return text + "." + encode(mac.Sum(nil))
}

func newUUID() string {
	b := make([]byte, 16)

	if _, err := rand.Read(b); err != nil {
		log.Fatal(err)
	}

	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80

	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func readSecret() []byte {
	secret, err := os.ReadFile(os.Getenv("CONDUIT_SECRET_FILE"))
	if err != nil {
		log.Fatal(err)
	}

	return bytes.TrimSuffix(secret, []byte("\n"))
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}

	return otherwise
}
