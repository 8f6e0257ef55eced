"""The page that each end of a WebRTC call shows in its browser; `chromium` drives it."""

from __future__ import annotations

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>call</title>
<audio autoplay></audio>
<script>
"use strict";
// `tell` is the lab's: it takes a line of text. All times are the lab's to note.
const say = (kind, content) => tell(JSON.stringify([kind, content]));
let connection, context, asks, heard = [], samples = 0;
const reports = [];

// Keeps what is played, as 16-bit samples.
const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[sound]]) {
        if (sound) this.port.postMessage(Int16Array.from(sound, (x) =>
            Math.max(-32768, Math.min(32767, Math.round(x * 32768)))));
        return true;
    }
})`;

async function prepare(rate) {
    context = new AudioContext({ sampleRate: rate });
    await context.audioWorklet.addModule("data:text/javascript," + encodeURIComponent(RECORDER));
}

// `nack`: whether this end asks for audio packets that were lost (RFC 4585, 6.2.1).
function dial(server, nack) {
    asks = nack;
    connection = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" });
    connection.onicecandidate = ({ candidate }) => candidate && say("candidate", candidate);
    connection.onconnectionstatechange = () => say("state", connection.connectionState);
    connection.ontrack = ({ track }) => {
        const stream = new MediaStream([track]);
        // A page hears a remote track only if an element plays it.
        document.querySelector("audio").srcObject = stream;
        const recorder = new AudioWorkletNode(context, "recorder");
        recorder.port.onmessage = ({ data }) => { heard.push(data); samples += data.length; };
        context.createMediaStreamSource(stream).connect(recorder).connect(context.destination);
    };
}

async function describe(offered) {
    if (offered) await connection.setRemoteDescription(offered);
    else connection.addTransceiver("audio");
    connection.getTransceivers()[0].direction = "sendrecv";
    const made = offered ? await connection.createAnswer() : await connection.createOffer();
    const opus = /^a=rtpmap:(\\d+) opus\\/.*$/m;
    if (asks) made.sdp = made.sdp.replace(opus, "$&\\r\\na=rtcp-fb:$1 nack");
    await connection.setLocalDescription(made);
    return connection.localDescription.toJSON();
}

const accept = (answer) => connection.setRemoteDescription(answer);
const addCandidate = (candidate) => connection.addIceCandidate(candidate);

// Both ends are connected: the microphone is opened, and what was heard before is forgotten.
async function talk() {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    heard = [];
    samples = 0;
    await connection.getSenders()[0].replaceTrack(stream.getAudioTracks()[0]);
    await report();
    setInterval(report, 250);
}

async function report() {
    const found = {};
    const stats = await connection.getStats();
    for (const s of stats.values()) {
        if (s.type === "inbound-rtp") Object.assign(found, {
            at: s.timestamp / 1000, concealed: s.concealedSamples, total: s.totalSamplesReceived,
            silent: s.silentConcealedSamples,
            lost: s.packetsLost, nacks: s.nackCount, jitterBufferDelay: s.jitterBufferDelay,
            emitted: s.jitterBufferEmittedCount });
        const pair = s.type === "transport" && stats.get(s.selectedCandidatePairId);
        if (pair) Object.assign(found, {
            rtt: pair.currentRoundTripTime,
            by_tcp: Number(stats.get(pair.localCandidateId).relayProtocol === "tcp") });
    }
    reports.push(found);
    return found;
}

async function hangUp() {
    await report();
    const bytes = new Uint8Array(2 * samples);
    let at = 0;
    for (const piece of heard) {
        bytes.set(new Uint8Array(piece.buffer), at);
        at += piece.byteLength;
    }
    connection.close();
    let text = "";
    for (let k = 0; k < bytes.length; k += 32768)
        text += String.fromCharCode(...bytes.subarray(k, k + 32768));
    return { reports, heard: btoa(text) };
}
</script>
"""
