#!/usr/bin/env bash
# Tells Ray when this spot machine is about to be taken away, so that trials write a checkpoint: on a worker.
#     drain_before_preemption.sh HEAD_ADDRESS [METADATA_URL]
# AWS gives notice two minutes before, Google Cloud 30 s. One started later takes the place of this one.
head=$1 metadata=${2:-http://169.254.169.254}
mine=~/.drain_before_preemption.pid
echo $$ > "$mine"

# Both clouds answer at the same address, each to its own paths and headers.
notice() {
    local token
    token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/latest/api/token")
    curl -sf -m 2 -H "X-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/spot/instance-action" ||
        curl -sf -m 2 -H 'Metadata-Flavor: Google' "$metadata/computeMetadata/v1/instance/preempted" | grep TRUE
}

while [ "$(cat "$mine")" = $$ ]; do
    if notice; then
        RAY_ADDRESS=$head ray drain-node --address "$head" --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'spot machine preempted' \
            --deadline-remaining-seconds 30 && exit
    fi
    sleep 2
done
