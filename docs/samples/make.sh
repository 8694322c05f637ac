#!/bin/sh
# Make the recordings in this folder again. Needs flite and opusenc (Debian: apt-get install flite opus-tools).
set -eu
cd "$(dirname "$0")"

say() { # voice, name of the recording, text
    flite -voice "$1" -t "$3" -o "$2.wav"
    opusenc --quiet --bitrate 16 --serial 1 --comment "COMMENT=synthetic voice: flite $1" "$2.wav" "$2.ogg"
    rm "$2.wav"
}

say slt enroll "Good morning. I would like to open a savings account for my daughter, who starts school in September.
My own account is with the branch on Market Street, near the old railway station. Last year I moved from a small
village in the mountains to a flat by the river, so please write down my new address. The weather was cold, but the
garden was full of yellow flowers, and the children played outside until the evening. We usually travel by train because
the road along the valley is often closed in winter. Thank you for your help, and please send the papers by post before
the end of the month."
say slt verify "Please move two hundred and fifty pounds to the joint account today, and tell me whether the last bill
was paid."
say awb stranger "I have forgotten my password, so please tell me the balance of this account and send me a new card."
