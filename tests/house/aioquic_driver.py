"""A driver on QUIC in another language, on another library: `TOKEN=… aioquic_driver.py PORT FINGERPRINT SESSION FIRST_MS MESSAGES`.

Sends messages of ten fixes, each on a stream of its own. On the way it changes its port, the id of its connection, and the keys, as a
phone may. Prints, as one line of JSON, what it was told; whatever is not acked makes it end with an error.
"""

import asyncio
import hashlib
import json
import os
import ssl
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from cryptography.hazmat.primitives.serialization import Encoding

CODEC = b"wayfare.drive.v1.json"


class Driver(QuicConnectionProtocol):
    """The control stream: frames of four bytes of length and a message."""

    def __init__(self, quic):
        super().__init__(quic)
        self.heard = b""
        self.messages = asyncio.Queue()
        self.ended = None

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.heard += event.data
            while len(self.heard) >= 4 and len(self.heard) >= 4 + int.from_bytes(self.heard[:4], "big"):
                end = 4 + int.from_bytes(self.heard[:4], "big")
                self.messages.put_nowait(json.loads(self.heard[4:end]))
                self.heard = self.heard[end:]
        elif isinstance(event, ConnectionTerminated):
            self.ended = event.error_code
            self.messages.put_nowait({"type": "over", "code": event.error_code})

    def control(self, stream, message):
        self._quic.send_stream_data(stream, len(message).to_bytes(4, "big") + message)
        self.transmit()

    def fixes(self, message):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, json.dumps(message).encode(), end_stream=True)
        self.transmit()

    async def said(self, kind):
        while True:
            message = await asyncio.wait_for(self.messages.get(), 10)
            if message["type"] == kind:
                return message
            if message["type"] == "over":
                raise SystemExit(f"closed with {message['code']} before {kind}")


async def open_port(driver):
    """Another port from now on; the old one is left open until the end, and not listened to."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: driver, local_addr=("127.0.0.1", 0))


async def main(port, fingerprint, session, first_ms, count):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["wayfare/1"], server_name="localhost", verify_mode=ssl.CERT_NONE
    )
    driver = Driver(QuicConnection(configuration=configuration))
    await open_port(driver)
    driver.connect(("127.0.0.1", port))
    await asyncio.wait_for(driver.wait_connected(), 10)
    certificate = driver._quic.tls._peer_certificate.public_bytes(Encoding.DER)
    if hashlib.sha256(certificate).hexdigest() != fingerprint:
        raise SystemExit("the certificate is another's")

    control = driver._quic.get_next_available_stream_id()
    driver.control(control, CODEC)
    hello = {"type": "hello", "token": os.environ["TOKEN"], "session": session}
    driver.control(control, json.dumps(hello).encode())
    welcome = await driver.said("welcome")

    verdicts = {}
    for seq in range(1, count + 1):
        start_ms = first_ms + seq * 10_000
        # A walk to the north, a metre a second.
        fixes = [
            {"t_ms": start_ms + step * 1000, "lat": 41.15 + (seq * 10 + step) * 9e-6, "lon": -8.61, "accuracy_m": 5.0}
            for step in range(10)
        ]
        driver.fixes({"type": "fixes", "seq": seq, "fixes": fixes})
        if seq % 4 == 1:
            await open_port(driver)
        elif seq % 4 == 2:
            driver.change_connection_id()
        elif seq % 4 == 3:
            driver.request_key_update()
        if seq % 3 == 0:
            while len(verdicts) < seq:
                ack = await driver.said("ack")
                verdicts[ack["seq"]] = ack["verdicts"]
    while len(verdicts) < count:
        ack = await driver.said("ack")
        verdicts[ack["seq"]] = ack["verdicts"]

    driver.close(1000, "normal")
    await asyncio.wait_for(driver.wait_closed(), 10)
    print(json.dumps({"driver": welcome["driver"], "verdicts": verdicts, "code": driver.ended}))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
