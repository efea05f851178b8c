#!/bin/sh
# Demonstrations and runs that package_robots.py measures:  sh modalities/robot/recipes/train_robots.sh [DATA] [RUNS]
# Cut off, it goes on with the same command.  gencore-robot[aloha] is needed for the cube alone.
set -eu
DATA=${1:-data} RUNS=${2:-runs} GENCORE=${GENCORE:-gencore}
mkdir -p "$DATA" "$RUNS"

record() { # environment expert noise episodes folder
    $GENCORE record robot --quiet --seed 1000000 --env "gencore/$1-v0" --expert "$2" --noise "$3" --episodes "$4" \
        -o "$DATA/$5"
}

train() { # folder, and what to train
    run=$RUNS/$1
    shift
    if [ -f "$run.done" ]; then return; fi
    if [ -f "$run/last.ckpt" ]; then
        $GENCORE train robot --resume "$run"
    else
        rm -rf "$run"
        $GENCORE train robot --device cpu --seed 0 "$@" -o "$run"
    fi
    touch "$run.done"
}

# What is executed strays from the label by the noise (rad; m; m/s), so that a policy learns the way back.
record TwoWayReach reach 0.05 200 reach
record TwoWayReachNamed reach 0.05 200 named
record TwoWayReachVelocity reach-velocity 0.05 20 few
mkdir -p "$DATA/two"
cp -r "$DATA/reach" "$DATA/few" "$DATA/two/"

# Two ways to the goal: diffusion, and the mean action of the same network.
train two-way-reach --preset two-way-reach --data "$DATA/reach" --steps 2000
train two-way-reach-regression --preset two-way-reach-regression --data "$DATA/reach" --steps 2000

# Two robots in one network: 200 episodes of the first and 20 of the second together, then the 20 alone;
# beside a network that knows the 20 alone, for as many steps as the second stage, and as both.
train reach-two --preset reach-two --data "$DATA/two" --steps 2000
train reach-few --from "$RUNS/reach-two/model" --data "$DATA/few" --steps 500 --lr 5e-4 --precision bf16
train reach-scratch --preset reach-two --data "$DATA/few" --steps 500
train reach-scratch-long --preset reach-two --data "$DATA/few" --steps 2500

# The instruction says which target counts.
train reach-named --preset reach-named --data "$DATA/named" --steps 2000

# The packaged default: a cube from one arm to the other.
record AlohaTransferCube transfer-cube:jitter=0.01 0.02 200 transfer
train transfer-cube --preset transfer-cube --data "$DATA/transfer" --steps 4000
