// Runs in the page, in place of the real WebSocket: a server that says what the test wants, hostile names included.

/** @param {{ topic: string, state: object }} script */
export function fakeWebSocket({ topic, state }) {
  window.WebSocket = class {
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;

    constructor() {
      window.fakeSocket = this;
      setTimeout(() => this.onopen?.({}), 0);
    }

    send(text) {
      const message = JSON.parse(text);
      if (message.type === 'auth') this.say({ type: 'welcome', version: 1, heartbeat_ms: 20_000, max_topics: 100, expires_at_ms: Date.now() + 3_600_000 });
      if (message.type === 'subscribe') {
        this.say({ type: 'subscribed', topic, alias: 1, cursor: '1.1' });
        this.say({ type: 'snapshot', alias: 1, cursor: '1.1', state });
      }
    }

    close() {}

    say(message) {
      setTimeout(() => this.onmessage?.({ data: JSON.stringify(message) }), 0);
    }
  };
}
