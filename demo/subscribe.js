/*
 * A client's half: an EventSource on a channel, as conduit-client has it.  The
 * browser reconnects by itself, with the ID of the last event it got; what was
 * published meanwhile arrives then.
 */

export class Subscription
{
    /*
     * handlers: state(name), event({id, data}), control(type), failure(text).
     * State is one of connecting, open, waiting, closed, ended, refused.
     */

    constructor(url, token, channelId, handlers)
    {
        this.url = url;
        this.token = token;
        this.channelId = channelId;
        this.handlers = handlers;
        this.lastId = "";
        this.connections = 0;
        this.source = null;
    }

    open()
    {
        const query = new URLSearchParams({
            token: this.token,
            channel_id: this.channelId
        });

        /* a new EventSource knows nothing of the old one's last ID */

        if (this.lastId) {
            query.set("last_event_id", this.lastId);
        }

        this.close();
        this.handlers.state("connecting");

        const source = new EventSource(this.url + "?" + query);

        source.addEventListener("open", () => {
            this.connections++;
            this.handlers.state("open");
        });

        source.addEventListener("stream", (event) => this.receive(event));
        source.addEventListener("control", (event) => this.control(event));
        source.addEventListener("error", (event) => this.error(event));

        this.source = source;
    }

    close()
    {
        if (this.source) {
            this.source.close();
            this.source = null;
            this.handlers.state("closed");
        }
    }

    receive(event)
    {
        const data = JSON.parse(event.data);

        this.lastId = event.lastEventId;
        this.handlers.event({ id: event.lastEventId, data: data });

        if (data.phase === "PHASE_END") {
            this.source.close();
            this.source = null;
            this.handlers.state("ended");
        }
    }

    /* sent when NGINX is reloaded, among others */

    control(event)
    {
        const type = JSON.parse(event.data).control_type;

        this.handlers.control(type);

        if (type === "server_draining") {
            this.open();
        }
    }

    /* the server's own event of that name has data, the browser's has none */

    error(event)
    {
        if (event.data !== undefined) {
            this.handlers.failure(event.data);
            return;
        }

        if (this.source.readyState === EventSource.CLOSED) {
            this.source = null;
            this.handlers.state("refused");
            return;
        }

        this.handlers.state("waiting");
    }
}
